"""Which programs should run: written by `thinkube up`, read by the supervisor."""

from __future__ import annotations

import json

from thinkube.services.state import directory, write_private
from thinkube.stack.programs import PROGRAMS


def read_wanted() -> tuple[str, ...]:
    """Names of the programs that should run."""
    try:
        names = json.loads((directory() / "wanted.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(name for name in PROGRAMS if name in names)


def write_wanted(names: tuple[str, ...]) -> None:
    """Say which programs should run."""
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(directory() / "wanted.json", json.dumps(list(names)) + "\n")
