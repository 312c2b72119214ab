"""Load the object a bundle's manifest points at."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.model.bundle import Manifest
from thinkube.model.errors import ThinkubeError
from thinkube.model.manifest import read


@dataclass(frozen=True)
class Entry:
    """A bundle's object, imported."""

    manifest: Manifest
    subject: Any


class EntryFailed(Exception):
    """The entry object can't be imported. `report` is the JSON form of why."""

    def __init__(self, error: str, message: str, frames: list[dict[str, Any]]) -> None:
        self.report = {"ok": False, "error": error, "message": message, "frames": frames}
        super().__init__(f"{error}: {message}")


def load(bundle: Path) -> Entry:
    """Import a bundle's entry object with the bundle's folder first on `sys.path`.

    The process's working folder becomes the bundle, so that files which ship are found by relative path.

    Raises:
        EntryFailed: the manifest is wrong, the import raised, or the name isn't there.
    """
    bundle = bundle.resolve()
    try:
        manifest = read(bundle)
    except ThinkubeError as error:
        raise EntryFailed(type(error).__name__, error.cause, []) from error
    for name, value in manifest.environment.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, str(bundle))
    os.chdir(bundle)
    module_name, _, attribute = manifest.entrypoint.partition(":")
    try:
        subject: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            subject = getattr(subject, part)
    except BaseException as error:  # the user's module may raise anything, SystemExit included
        if isinstance(error, KeyboardInterrupt):
            raise
        raise EntryFailed(type(error).__name__, str(error), _frames(error, bundle)) from error
    return Entry(manifest, subject)


def _frames(error: BaseException, bundle: Path) -> list[dict[str, Any]]:
    """Where it happened, outermost first: the bundle's own frames, and the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        frames.append(traceback.FrameSummary(error.filename, error.lineno, "<module>"))
    kept = [frame for frame in frames if Path(frame.filename).is_relative_to(bundle)]
    if frames and frames[-1] not in kept and not frames[-1].filename.startswith("<frozen importlib"):
        kept.append(frames[-1])
    return [
        {
            "file": str(Path(f.filename).relative_to(bundle))
            if Path(f.filename).is_relative_to(bundle)
            else f.filename,
            "line": f.lineno,
            "function": f.name,
        }
        for f in kept
    ]
