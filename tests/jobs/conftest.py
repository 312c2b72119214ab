"""A notebook with a training function, and jobs that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from thinkube.targets.jobs import jobs

TRAIN = '''
def train(steps: int, rate: float = 0.1, pause: float = 0.0, label: str = "x"):
    """Find the minimum of a parabola."""
    saved = tk.checkpoints() / "state.json"
    step, x = json.loads(saved.read_text()) if saved.exists() else (0, 4.0)
    print("begins at", step, "for", label)
    while step < steps:
        x -= rate * 2 * x
        step += 1
        scratch = saved.with_suffix(".new")
        scratch.write_text(json.dumps([step, x]))
        scratch.replace(saved)
        tk.report(step, steps, loss=x * x)
        time.sleep(pause)
    return {"x": x, "label": label}
'''


@pytest.fixture
def notebook(tmp_path: Path) -> Callable[..., Path]:
    """Write a notebook of these cells."""

    def write(*cells: str) -> Path:
        path = tmp_path / "study.ipynb"
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)
        return path

    return write


@pytest.fixture
def study(notebook: Callable[..., Path]) -> Path:
    """One whose first cells have nothing to do with its function."""
    return notebook("import thinkube as tk\nimport json, time", "print('a look at the data')", TRAIN)


@pytest.fixture(autouse=True)
def _nothing_left(home: Path) -> Iterator[None]:
    assert home
    yield
    for each in jobs():
        each.stop(20, kill=True)
