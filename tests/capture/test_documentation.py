"""The examples of docs/capture.md are what capture does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from thinkube.capture.notebook_file import capture_notebook

PAGE = Path(__file__).parents[2] / "docs" / "capture.md"
EXAMPLES = re.findall(
    r"### (\d+\. [^\n]+)\n\n```python\n(.*?)```\n```python ships\n(.*?)```", PAGE.read_text(), re.S
)


def code(text: str) -> list[str]:
    """The lines that aren't comments, the docstring or blank."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    return [line for line in lines if not line.startswith('"""')]


def test_there_are_ten_examples() -> None:
    assert len(EXAMPLES) == 10


@pytest.mark.parametrize(("title", "notebook", "ships"), EXAMPLES, ids=[title for title, _, _ in EXAMPLES])
def test_an_example_ships_what_the_page_says(title: str, notebook: str, ships: str, tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": text}
        for text in notebook.split("# %%\n")
    ]
    path = tmp_path / "example.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
    capture = capture_notebook(path, "target")
    assert code(capture.source) == code(ships), title
    assert capture.report, "every statement has a decision"


def test_the_same_notebook_gives_the_same_capture(tmp_path: Path) -> None:
    text = "# %%\n".join(notebook for _, notebook, _ in EXAMPLES)
    cells = [{"cell_type": "code", "source": part, "outputs": []} for part in text.split("# %%\n")]
    path = tmp_path / "all.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    assert capture_notebook(path, "target") == capture_notebook(path, "target")
