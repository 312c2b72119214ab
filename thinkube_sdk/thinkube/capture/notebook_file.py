"""Capture from a notebook file: cells in file order, saved outputs as evidence."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from thinkube.capture.assemble import capture_trace
from thinkube.capture.trace import Cell, Trace
from thinkube.capture.tracebacks import stopped_line
from thinkube.model.capture import Capture
from thinkube.model.errors import NotebookInvalid, UsageError


def capture_notebook(path: Path, object_name: str, *, freeze: Collection[str] = ()) -> Capture:
    """Capture the object called `object_name` from a notebook file, without running it.

    Raises:
        UsageError: no such file.
        NotebookInvalid: the file is not a Python notebook.
        CaptureError: the object can't be captured; see its subclasses.
    """
    return capture_trace(read_notebook(path), object_name, freeze)


def read_notebook(path: Path) -> Trace:
    """Read a notebook of format 3 or 4."""
    if not path.is_file():
        raise UsageError(f"There is no notebook {path}.", "Check the path.")
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise NotebookInvalid(f"{path} is not a notebook: {error}.", "Save it again from Jupyter.") from error
    if not isinstance(document, dict):
        raise NotebookInvalid(f"{path} is not a notebook: it holds no object.", "Save it again from Jupyter.")
    language = _language(document)
    if language and language.lower() not in {"python", "ipython", "python3", "ipython3"}:
        raise NotebookInvalid(
            f"{path} is a notebook in {language}; only Python can be captured.", "Use a Python kernel."
        )
    cells = document.get("cells")
    if cells is None and isinstance(document.get("worksheets"), list):
        cells = [
            cell
            for sheet in document["worksheets"]
            if isinstance(sheet, dict)
            for cell in _list(sheet.get("cells"))
        ]
    if not isinstance(cells, list):
        raise NotebookInvalid(f"{path} has no list of cells.", "Save it again from Jupyter.")
    found = [_cell(cell, number, path) for number, cell in enumerate(cells, 1)]
    return Trace(tuple(cell for cell in found if cell is not None), path.parent.absolute(), path.name)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _language(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    info, spec = metadata.get("language_info"), metadata.get("kernelspec")
    name = info.get("name") if isinstance(info, dict) else None
    language = spec.get("language") if isinstance(spec, dict) else None
    return next((value for value in (name, language) if isinstance(value, str)), "")


def _text(value: Any, number: int, path: Path) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "".join(value)
    if not isinstance(value, str):
        raise NotebookInvalid(
            f"{path}: the source of cell {number} is not text.", "Save it again from Jupyter."
        )
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _cell(cell: Any, number: int, path: Path) -> Cell | None:
    if not isinstance(cell, dict):
        raise NotebookInvalid(f"{path}: cell {number} is not an object.", "Save it again from Jupyter.")
    if cell.get("cell_type") != "code":
        return None
    text = _text(cell.get("source", cell.get("input", "")), number, path)
    outputs = [output for output in _list(cell.get("outputs")) if isinstance(output, dict)]
    shown: str | None = None
    if cell.get("execution_count") is not None or outputs:
        shown = next(
            (
                _shown(output)
                for output in outputs
                if output.get("output_type") in ("execute_result", "pyout")
            ),
            "",
        )
    failure = next((output for output in outputs if output.get("output_type") in ("error", "pyerr")), None)
    stopped, error = _stopped(failure, text) if failure else (None, None)
    metadata = cell.get("metadata")
    other = metadata.get("vscode", {}) if isinstance(metadata, dict) else {}
    language = other.get("languageId") if isinstance(other, dict) else None
    return Cell(f"cell {number}", text, shown, stopped, error, python=language in {None, "python"})


def _shown(output: dict[str, Any]) -> str:
    data = output.get("data")
    text = data.get("text/plain") if isinstance(data, dict) else output.get("text")
    text = "".join(part for part in text if isinstance(part, str)) if isinstance(text, list) else text
    return text if isinstance(text, str) and text else "shown"


def _stopped(failure: dict[str, Any], text: str) -> tuple[int | None, str | None]:
    """The line of the cell at which a saved exception was raised."""
    name = failure.get("ename")
    frames = [frame for frame in _list(failure.get("traceback")) if isinstance(frame, str)]
    return stopped_line(frames, text), name if isinstance(name, str) else "an exception"
