"""What was executed, in which order: the cells of a file, or the executions of a kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Cell:
    """One execution of one cell.

    Attributes:
        name: what a person calls it: `cell 3`, `In [7]`, or a file's name.
        text: its source as typed.
        shown: the text of the value it displayed; empty when it ran and displayed none; None when
            nothing is known about its run.
        stopped: 1-based line of the statement that raised, or None.
        error: name of the exception that stopped it.
        seconds: how long it ran, where known.
        python: whether it is code of this language.
    """

    name: str
    text: str
    shown: str | None = None
    stopped: int | None = None
    error: str | None = None
    seconds: float | None = None
    python: bool = True


@dataclass(frozen=True)
class Live:
    """What a running kernel knows beyond the text.

    Attributes:
        namespace: the user's variables.
        modules: file of each loaded module and when it was loaded, for those in the notebook's folder.
    """

    namespace: dict[str, object] = field(repr=False)
    started: float = 0.0


@dataclass(frozen=True)
class Trace:
    """Everything capture starts from.

    Attributes:
        cells: in the order of their execution.
        folder: where relative paths and local modules are looked up.
        notebook: the file's name, if there is one.
        live: the kernel's knowledge, if there is a kernel.
    """

    cells: tuple[Cell, ...]
    folder: Path
    notebook: str | None = None
    live: Live | None = None
