"""`%thinkube` in a real kernel."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook


def run(folder: Path, *cells: str) -> list[nbformat.NotebookNode]:
    """Execute cells in a kernel of their own and return them with their outputs."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        timeout=120,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "THINKUBE_HOME": str(folder / "thinkube")})
    return list(notebook.cells)


def text_of(cell: nbformat.NotebookNode) -> str:
    """Everything a cell printed or raised."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", "") or "\n".join(output.get("traceback", [])))
    return "\n".join(parts)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[nbformat.NotebookNode]:
    return run(
        tmp_path_factory.mktemp("notebook"),
        "%load_ext thinkube",
        "%thinkube list",
        "%thinkube deploy nothing_of_that_name",
        "%thinkube deplo agent",
        "import thinkube as tk\ndef late():\n    tk.deployment('no-such-agent')\n\nlate()",
    )


def test_a_verb_prints_into_the_cell(cells: list[nbformat.NotebookNode]):
    assert "Nothing is deployed" in text_of(cells[1])


def test_a_variable_that_does_not_exist_fails_the_cell(cells: list[nbformat.NotebookNode]):
    assert cells[2].outputs[-1].ename == "UsageError"
    assert "no variable 'nothing_of_that_name'" in text_of(cells[2])


def test_a_wrong_call_fails_the_cell_so_that_run_all_stops(cells: list[nbformat.NotebookNode]):
    assert cells[3].outputs[-1].output_type == "error"
    assert "deploy" in text_of(cells[3])


def test_an_error_shows_place_cause_and_fix_and_no_traceback(cells: list[nbformat.NotebookNode]):
    shown = text_of(cells[4])
    assert "Cell In[5], line 3" in shown
    assert "DeploymentNotFound: " in shown
    assert "Fix: " in shown
    assert "site-packages" not in shown
