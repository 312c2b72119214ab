"""What the supervisor should do: written by commands, read by the supervisor when it gets SIGHUP."""

from __future__ import annotations

import json
from pathlib import Path

from thinkube.model.private import write_private
from thinkube.services.state import directory
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


def ask_restart(name: str) -> None:
    """Ask for a program to be started again."""
    _restarts().mkdir(mode=0o700, exist_ok=True)
    (_restarts() / name).touch()


def take_restarts() -> frozenset[str]:
    """Names of the programs for which a restart was asked since the last call."""
    asked = list(_restarts().iterdir()) if _restarts().is_dir() else []
    for mark in asked:
        mark.unlink()
    return frozenset(mark.name for mark in asked)


def _restarts() -> Path:
    return directory() / "restarts"
