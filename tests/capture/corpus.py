"""The corpus: notebooks as text, executed live and as captured.

A case is a block in `cases/*.txt`:

    == name of the case
    target: agent
    ask: target("hi")            an expression evaluated on both sides; several lines are allowed
    absent: print(               text that must not ship; several lines are allowed
    present: def helper          text that must ship
    refused: input               it must be refused, with this text in the message
    order: 1 2 2 3               which cells run in the kernel, and in which order (kernel only)
    file: data/x.txt = contents  a file beside the notebook
    expect: [1, 2]               the first answer, where the notebook's own demos changed the object
    only: file                   or `only: kernel`
    # %%
    first cell
    # %%
    second cell
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One notebook and what must hold of what is captured from it."""

    name: str
    cells: tuple[str, ...]
    target: str = "target"
    ask: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    refused: str | None = None
    order: tuple[int, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    expect: str | None = None
    only: str | None = None
    secrets: tuple[str, ...] | None = None

    def notebook(self) -> dict[str, Any]:
        """The notebook as Jupyter would save it before any run."""
        cells = [
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
            for text in self.cells
        ]
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def load() -> list[Case]:
    """Every case, in order of the files."""
    return [case for path in sorted((HERE / "cases").glob("*.txt")) for case in parse(path.read_text())]


def parse(text: str) -> list[Case]:
    """The cases of one file."""
    found = []
    for block in ("\n" + text).split("\n== ")[1:]:
        head, *cells = block.split("\n# %%\n")
        name, *settings = head.strip().split("\n")
        values: dict[str, list[str]] = {}
        for line in settings:
            if line.strip() and not line.startswith("#"):
                key, _, value = line.partition(":")
                values.setdefault(key.strip(), []).append(value.strip())
        found.append(_case(name.strip(), tuple(cell.rstrip("\n") for cell in cells), values))
    return found


def _case(name: str, cells: tuple[str, ...], values: dict[str, list[str]]) -> Case:
    unknown = set(values) - {
        "target",
        "ask",
        "absent",
        "present",
        "refused",
        "order",
        "file",
        "expect",
        "only",
        "secrets",
    }
    assert not unknown, f"{name}: {unknown}"
    files = dict(part.split(" = ", 1) for part in values.get("file", ()))
    return Case(
        name,
        cells,
        values.get("target", ["target"])[0],
        tuple(values.get("ask", ())),
        tuple(values.get("absent", ())),
        tuple(values.get("present", ())),
        values.get("refused", [None])[0],  # type: ignore[list-item]
        tuple(int(n) for n in values.get("order", [""])[0].split()),
        {path: content.replace("\\n", "\n") for path, content in files.items()},
        values.get("expect", [None])[0],  # type: ignore[list-item]
        values.get("only", [None])[0],  # type: ignore[list-item]
        tuple(values["secrets"][0].split()) if "secrets" in values else None,
    )
