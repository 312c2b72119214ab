"""Checkpoints that are either whole or not there: the last thing written is the list of files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

from thinkube.training.state import write_json

_SEAL = "complete.json"


def seal(folder: Path) -> None:
    """Declare a folder complete, once all its files are on disk."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _SEAL:
            with path.open("rb") as file:
                os.fsync(file.fileno())
            sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_json(folder / _SEAL, {"format": 1, "files": sizes})


def whole(folder: Path) -> bool:
    """Whether a folder was sealed and still has every file at its size."""
    try:
        sizes = json.loads((folder / _SEAL).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items()
    )


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint. What is not whole is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    for path in found:
        if not whole(path):
            shutil.rmtree(path)
    return next((path for path in reversed(found) if path.exists()), None)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was made after."""
    return int(checkpoint.name.rpartition("-")[2])


def tree_digest(folder: Path) -> str:
    """sha256 over the names and contents of a folder's files."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != _SEAL)
    lines = (f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return sha256("".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
