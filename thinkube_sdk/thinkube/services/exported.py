"""Environment variables that a client's library makes us set, told apart from those the user set.

MLflow reads its place from the environment and writes it there too. Without this record, what one
`tk.mlflow()` found on the local stack would pass for the user's own choice from then on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

_RECORD = "THINKUBE_EXPORTED"


def exported() -> dict[str, str]:
    """The variables set by us, with the values we gave them; children inherit the record."""
    record = os.environ.get(_RECORD)
    return dict(json.loads(record)) if record else {}


def export(public: Mapping[str, str], private: Mapping[str, str | None]) -> None:
    """Set environment variables: `public` ones are recorded, `private` ones (secrets) are not."""
    os.environ.update(public)
    for name, value in private.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.environ[_RECORD] = json.dumps({**exported(), **public})
