"""Capture from a plain module: one cell, the whole file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from thinkube.capture.assemble import capture_trace
from thinkube.capture.trace import Cell, Trace
from thinkube.model.capture import Capture
from thinkube.model.errors import NotebookInvalid, UsageError


def capture_module(path: Path, object_name: str, *, freeze: Collection[str] = ()) -> Capture:
    """Capture the object called `object_name` from a `.py` file, without running it.

    Raises:
        UsageError: no such file.
        NotebookInvalid: the file is not Python.
        CaptureError: the object can't be captured; see its subclasses.
    """
    if not path.is_file():
        raise UsageError(f"There is no module {path}.", "Check the path.")
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise NotebookInvalid(f"{path} is not text: {error}.", "Save it as UTF-8.") from error
    return capture_trace(
        Trace((Cell(path.name, text),), path.parent.absolute(), path.name), object_name, freeze
    )
