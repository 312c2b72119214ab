"""Capture in a running notebook: a real kernel, and IPython's shell."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy
import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell

from thinkube.capture.kernel import capture_live, name_of
from thinkube.model.capture import Capture
from thinkube.model.errors import SourceRefused, UsageError


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    yield shell
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, *cells: str) -> None:
    for cell in cells:
        shell.run_cell(cell, store_history=True)


def imported(capture: Capture, folder: Path) -> types.ModuleType:
    """The captured module, imported from a folder with its files."""
    for file in capture.files:
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.path).write_bytes(file.content)
    module = types.ModuleType(capture.module)
    module.__file__ = str(folder / f"{capture.module}.py")
    exec(compile(capture.source, module.__file__, "exec"), vars(module))
    return module


def test_an_object_is_found_by_identity(shell: InteractiveShell) -> None:
    run(shell, "def agent(): return 1", "other = agent")
    assert name_of(shell.user_ns["agent"], shell) == "agent"
    with pytest.raises(UsageError, match="No variable of the notebook holds this function"):
        name_of(lambda: 1, shell)


def test_the_cell_that_captures_counts_up_to_the_call(shell: InteractiveShell) -> None:
    run(
        shell,
        "x = []\ndef agent(): return x",
        "from thinkube.capture.kernel import capture_live\nx.append(1)\nfound = "
        "capture_live(agent)\nx.append(2)",
    )
    source = shell.user_ns["found"].source
    assert "x.append(1)" in source
    assert "x.append(2)" not in source


def test_every_line_knows_where_it_came_from(shell: InteractiveShell) -> None:
    run(shell, "# a note\n\nLIMIT = 3", "%pwd\n\ndef agent():\n    return LIMIT\n")
    capture = capture_live(shell.user_ns["agent"], shell=shell)
    places = {
        line.strip(): str(origin)
        for line, origin in zip(capture.source.split("\n"), capture.origins, strict=False)
        if origin is not None
    }
    assert places["LIMIT = 3"] == "In [1], line 3"
    assert places["return LIMIT"] == "In [2], line 4"


@pytest.mark.parametrize(
    ("making", "ask", "suffix"),
    [
        ("import pandas\nvalue = pandas.DataFrame({'a': [1, 2]})", "list(value['a'])", "parquet"),
        ("import numpy\nvalue = numpy.arange(4).reshape(2, 2)", "value.tolist()", "npy"),
        ("value = {'a': [1, 'x', None]}", "value", "json"),
    ],
)
def test_a_frozen_value_is_stored_in_a_safe_format(
    shell: InteractiveShell, tmp_path: Path, making: str, ask: str, suffix: str
) -> None:
    assert numpy
    assert pandas
    run(shell, f"def slow():\n    return 1\nslow()\n{making}", f"def agent(): return {ask}")
    capture = capture_live(shell.user_ns["agent"], shell=shell, freeze=["value"])
    assert [file.path for file in capture.files] == [f"data/value.{suffix}"]
    assert "slow" not in capture.source
    assert imported(capture, tmp_path).agent() == shell.user_ns["agent"]()


def test_pickle_only_when_asked_for(shell: InteractiveShell, tmp_path: Path) -> None:
    run(shell, "value = {1, 2, 3}", "def agent(): return sorted(value)")
    with pytest.raises(SourceRefused, match="no safe format"):
        capture_live(shell.user_ns["agent"], shell=shell, freeze=["value"])
    capture = capture_live(shell.user_ns["agent"], shell=shell, freeze=["value:pickle"])
    assert imported(capture, tmp_path).agent() == [1, 2, 3]


def test_a_frozen_value_changed_after_it_was_made(shell: InteractiveShell, tmp_path: Path) -> None:
    run(shell, "value = [1]", "value.append(2)", "value.append(3)\ndef agent(): return value")
    capture = capture_live(shell.user_ns["agent"], shell=shell, freeze=["value"])
    assert "append" not in capture.source
    assert imported(capture, tmp_path).agent() == [1, 2, 3]


def test_an_interrupted_cell_is_refused_where_it_counts(shell: InteractiveShell) -> None:
    run(
        shell,
        "x = []",
        "for i in range(9):\n    x.append(i)\n    if i == 3: raise KeyboardInterrupt",
        "def agent(): return x",
    )
    with pytest.raises(SourceRefused, match="KeyboardInterrupt"):
        capture_live(shell.user_ns["agent"], shell=shell)


def test_a_module_edited_since_its_import_is_refused(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edited_helper.py").write_text("LEVEL = 1\ndef f(): return LEVEL\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(shell, "starting_dir", str(tmp_path))
    run(shell, "from edited_helper import f", "def agent(): return f()")
    assert [file.path for file in capture_live(shell.user_ns["agent"], shell=shell).files] == [
        "edited_helper.py"
    ]
    (tmp_path / "edited_helper.py").write_text("LEVEL = 2\ndef f(): return LEVEL\n")
    with pytest.raises(SourceRefused, match=r"edited_helper\.py was edited"):
        capture_live(shell.user_ns["agent"], shell=shell)
    sys.modules.pop("edited_helper")


def test_in_a_real_kernel(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    cells = [
        "import asyncio\nfound = []\nasync def load(n):\n    await asyncio.sleep(0)\n    return n",
        "found.append(await load(1))",
        "def agent(): return found",
        "print(agent())",
        "from thinkube.capture.kernel import capture_live\nimport json\ncapture = "
        "capture_live(agent)\nprint(json.dumps(capture.source))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    source = json.loads(notebook.cells[-1].outputs[0].text)
    module = types.ModuleType("captured")
    exec(compile(source, "captured.py", "exec"), vars(module))
    assert module.agent() == [1]
    assert "print" not in source


def test_a_module_whose_names_the_notebook_patches_is_not_stale(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "patched_helper.py").write_text(
        "LEVEL = 1\nclass Kind:\n    def level(self): return LEVEL\n    @property\n    def top(self): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(shell, "starting_dir", str(tmp_path))
    run(shell, "import patched_helper\npatched_helper.LEVEL = 5\nkind = patched_helper.Kind()")
    run(shell, "def agent(): return kind.level(), kind.top")
    assert "patched_helper.LEVEL = 5" in capture_live(shell.user_ns["agent"], shell=shell).source
    (tmp_path / "patched_helper.py").write_text(
        "LEVEL = 1\nclass Kind:\n    def level(self): return 2\n    @property\n    def top(self): pass\n"
    )
    with pytest.raises(SourceRefused, match=r"patched_helper\.py was edited"):
        capture_live(shell.user_ns["agent"], shell=shell)
    (tmp_path / "patched_helper.py").unlink()
    with pytest.raises(SourceRefused, match=r"patched_helper\.py was deleted"):
        capture_live(shell.user_ns["agent"], shell=shell)
    sys.modules.pop("patched_helper")


def test_a_value_from_before_a_reload_is_refused(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reloaded_helper.py").write_text("def f(): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(shell, "starting_dir", str(tmp_path))
    run(shell, "import importlib, reloaded_helper", "x = reloaded_helper.f()", "def agent(): return x")
    (tmp_path / "reloaded_helper.py").write_text("def f(): return 1000\n")
    run(shell, "importlib.reload(reloaded_helper)")
    with pytest.raises(SourceRefused, match="`reloaded_helper` was reloaded"):
        capture_live(shell.user_ns["agent"], shell=shell)
    run(shell, "x = reloaded_helper.f()")
    assert "def agent" in capture_live(shell.user_ns["agent"], shell=shell).source
    sys.modules.pop("reloaded_helper")


def test_a_script_edited_since_it_ran_is_refused(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "starting_dir", str(tmp_path))
    (tmp_path / "setup_script.py").write_text("level = 1\ndef f(): return level\n")
    run(shell, "%run setup_script.py", "def agent(): return f()")
    assert "level = 1" in capture_live(shell.user_ns["agent"], shell=shell).source
    (tmp_path / "setup_script.py").write_text("level = 1\ndef f(): return -level\n")
    with pytest.raises(SourceRefused, match=r"setup_script\.py was edited"):
        capture_live(shell.user_ns["agent"], shell=shell)
    run(shell, "%run setup_script.py")
    assert "-level" in capture_live(shell.user_ns["agent"], shell=shell).source
