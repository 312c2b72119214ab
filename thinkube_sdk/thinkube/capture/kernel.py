"""Capture from a running kernel: every execution in its order, and what the live objects tell."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkube.capture.assemble import capture_trace
from thinkube.capture.trace import Cell, Live, Trace
from thinkube.capture.tracebacks import stopped_line
from thinkube.model.capture import Capture
from thinkube.model.errors import UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_UNREADABLE = frozenset({"SyntaxError", "IndentationError", "TabError"})
_PRIVATE = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})


def capture_live(
    subject: object,
    *,
    shell: InteractiveShell | None = None,
    name: str | None = None,
    freeze: Collection[str] = (),
) -> Capture:
    """Capture a live object of the notebook that is running.

    Args:
        subject: the object.
        shell: the notebook's shell; the running one if left out.
        name: the variable that holds it, where it has several.
        freeze: names whose values are stored instead of being computed again.

    Raises:
        UsageError: there is no notebook, or no variable holds the object.
        CaptureError: the object can't be captured; see its subclasses.
    """
    shell = shell or _running()
    return capture_trace(read_kernel(shell), name or name_of(subject, shell), freeze)


def _running() -> InteractiveShell:
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if shell is None:
        raise UsageError(
            "There is no running notebook to capture from.",
            "Call this in a notebook, or give the path of a notebook.",
        )
    return shell  # type: ignore[no-any-return]


def name_of(subject: object, shell: InteractiveShell) -> str:
    """The variable of the notebook that holds exactly this object.

    Raises:
        UsageError: no variable does.
    """
    hidden = shell.user_ns_hidden
    names = [
        name
        for name, value in shell.user_ns.items()
        if value is subject
        and not name.startswith("_")
        and name not in _PRIVATE
        and not (name in hidden and hidden[name] is value)
    ]
    if not names:
        raise UsageError(
            f"No variable of the notebook holds this {type(subject).__name__}.",
            "Give it a name first: agent = …, then tk.deploy(agent).",
        )
    own = getattr(subject, "__name__", None)
    return own if isinstance(own, str) and own in names else names[-1]


def read_kernel(shell: InteractiveShell) -> Trace:
    """Every execution the kernel remembers, in order."""
    history: Any = shell.history_manager
    texts: list[str] = list(history.input_hist_raw) if history is not None else []
    exceptions: dict[int, dict[str, Any]] = getattr(history, "exceptions", {})
    cells = [
        _cell(number, text, history, exceptions)
        for number, text in enumerate(texts)
        if number and text.strip()
    ]
    line = _current_line(shell)
    if cells and line is not None:
        cells[-1] = replace(cells[-1], stopped=line, error=None, shown=None)
    return Trace(tuple(cells), Path(shell.starting_dir), _notebook_name(shell), Live(shell.user_ns))


def _cell(number: int, text: str, history: Any, exceptions: dict[int, dict[str, Any]]) -> Cell:
    shown = history.output_hist_reprs.get(number)
    if shown is None:
        shown = next(
            (
                str(output.bundle.get("text/plain") or "shown")
                for output in history.outputs.get(number, ())
                if output.output_type == "execute_result"
            ),
            "",
        )
    raised = exceptions.get(number)
    if raised is None:
        return Cell(f"In [{number}]", text, shown)
    line = stopped_line(raised["traceback"], text)
    if line is None and raised["ename"] in _UNREADABLE:
        # It was never compiled, so none of it ran: `await` under `%%time`.
        line = 1
    return Cell(f"In [{number}]", text, shown, line, raised["ename"])


def _current_line(shell: InteractiveShell) -> int | None:
    """The line of the running cell at which this call stands, or None if no cell is running."""
    frame = sys._getframe()
    found: int | None = None
    while frame is not None:
        if frame.f_globals is shell.user_ns and frame.f_code.co_name == "<module>":
            found = frame.f_lineno + (1 if "timed exec" in frame.f_code.co_filename else 0)
            break
        frame = frame.f_back  # type: ignore[assignment]
    return found


def _notebook_name(shell: InteractiveShell) -> str | None:
    for value in (shell.user_ns.get("__vsc_ipynb_file__"), os.environ.get("JPY_SESSION_NAME")):
        if isinstance(value, str) and value.endswith(".ipynb"):
            return Path(value).name
    return None
