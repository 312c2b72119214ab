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


def export(variables: Mapping[str, str]) -> None:
    """Set environment variables, and record that we did."""
    os.environ.update(variables)
    os.environ[_RECORD] = json.dumps({**exported(), **variables})
