"""Where in a notebook an error happened."""

from __future__ import annotations

import sys
from types import TracebackType


def notebook_line(traceback: TracebackType | None) -> str | None:
    """Find a traceback's innermost notebook line, as IPython writes it: `Cell In[3], line 2`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    place = None
    while shell is not None and traceback is not None:
        code_name = shell.compile.format_code_name(traceback.tb_frame.f_code.co_filename)
        if code_name is not None:
            place = f"{' '.join(code_name)}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
