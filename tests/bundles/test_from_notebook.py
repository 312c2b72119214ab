"""From a real notebook file to a bundle: what fails is shown where the author wrote it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from thinkube.bundles.package import package
from thinkube.capture.notebook_file import capture_notebook
from thinkube.errors import DistributionMissing, VerificationFailed

Notebook = Callable[..., Path]

GRAPH = """from langgraph.graph import START, MessagesState, StateGraph

builder = StateGraph(MessagesState)"""


@pytest.fixture
def notebook(tmp_path: Path) -> Notebook:
    """A notebook file of the cells given."""

    def write(*cells: str) -> Path:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        path = tmp_path / "Support Desk.ipynb"
        nbformat.write(book, path)
        return path

    return write


def test_a_graph_of_several_cells_runs_elsewhere(notebook: Notebook, tmp_path: Path) -> None:
    path = notebook(
        "%pip install tqdm\\nprint('hello')",
        GRAPH,
        "def answer(state):\n    return {'messages': [('ai', 'Good day')]}",
        "builder.add_node(answer)\nbuilder.add_edge(START, 'answer')\nagent = builder.compile()",
        "agent.invoke({'messages': [('user', 'hi')]})",
    )
    bundle = package(capture_notebook(path, "agent"), kind="langgraph", out=tmp_path / "out")
    assert bundle.verified
    assert bundle.manifest.name == "support-desk"
    code = (
        "from thinkube.model.entry import load; from pathlib import Path; import sys\n"
        "agent = load(Path(sys.argv[1])).subject\n"
        "print(agent.invoke({'messages': [('user', 'hi')]})['messages'][-1].content)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Good day"
    assert "cell 5" in str(bundle.report)


def test_what_fails_is_shown_at_its_cell(notebook: Notebook) -> None:
    path = notebook(
        "settings = {}",
        "x = 1",
        "# look\nendpoint = settings['endpoint']\n\ndef agent(q):\n    return endpoint",
    )
    with pytest.raises(VerificationFailed) as refusal:
        package(capture_notebook(path, "agent"))
    assert "cell 3, line 2: endpoint = settings['endpoint']" in refusal.value.cause
    assert "KeyError" in refusal.value.cause


def test_what_is_not_installed_is_shown_at_its_cell(notebook: Notebook) -> None:
    path = notebook("x = 1", "import numpy_of_tomorrow as np\n\ndef agent(q):\n    return np.sum(q)")
    with pytest.raises(DistributionMissing, match="cell 2, line 1"):
        package(capture_notebook(path, "agent"))


def test_an_import_that_the_object_does_not_need_does_not_matter(notebook: Notebook) -> None:
    path = notebook("import numpy_of_tomorrow as np", "def agent(q):\n    return q")
    assert package(capture_notebook(path, "agent"), verify=False).lock.pins
