"""What tests of bundles share: captures made by hand, and distributions installed on the side."""

from __future__ import annotations

import ast
import os
import site
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkube.bundles.wheels import uv
from thinkube.model.capture import Capture, Origin
from thinkube.services.state import State

GRAPH = """\
from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState) -> dict:
    return {"messages": [("ai", "Hello")]}


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_edge(START, "answer")
agent = builder.compile()
"""


def capture_of(source: str = GRAPH, **given: object) -> Capture:
    """A capture as `thinkube.capture` gives it, of source whose line n is line n of cell 4."""
    tree = ast.parse(source)
    tops = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    values: dict[str, object] = {
        "name": "agent",
        "module": "agent",
        "source": source,
        "origins": tuple(Origin("cell 4", line) for line in range(1, source.count("\n") + 1)),
        "imports": tuple(sorted(tops - set(sys.stdlib_module_names))),
        "notebook": "support.ipynb",
        **given,
    }
    return Capture(**values)  # type: ignore[arg-type]


@pytest.fixture
def make() -> Callable[..., Capture]:
    return capture_of


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments and wheels are made once for all tests of a run."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a home of its own, and no service that it did not ask for."""
    monkeypatch.setenv("THINKUBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("THINKUBE_CACHE", str(shared_cache))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, empty."""
    monkeypatch.setenv("THINKUBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The source of a small distribution, `ada-tools`, that provides `ada_tools`."""
    root = tmp_path / "ada-tools"
    (root / "src" / "ada_tools").mkdir(parents=True)
    (root / "src" / "ada_tools" / "__init__.py").write_text("def greet() -> str:\n    return 'Good day'\n")
    (root / "src" / "ada_tools" / "words.txt").write_text("hello\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "ada-tools"\nversion = "1.2"\nrequires-python = ">=3.11"\n'
        '[project.scripts]\nada = "ada_tools:greet"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/ada_tools"]\n'
    )
    return root


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install something where this interpreter finds it, for this test only."""

    def run(*arguments: str) -> Path:
        target = tmp_path / "site"
        command = [uv(), "pip", "install", "--no-deps", "--python", sys.executable, "--target", str(target)]
        subprocess.run([*command, *arguments], check=True, capture_output=True, env={**os.environ})
        monkeypatch.setattr(sys, "path", list(sys.path))
        site.addsitedir(str(target))
        sys.path.insert(0, sys.path.pop(sys.path.index(str(target))))
        return target

    return run


@pytest.fixture(scope="session")
def tracking(stack: State) -> dict[str, str]:
    """The variables that name the stack's MLflow."""
    mlflow = stack.services["mlflow"]
    return {
        "MLFLOW_TRACKING_URI": mlflow.url,
        "MLFLOW_TRACKING_USERNAME": mlflow.username or "",
        "MLFLOW_TRACKING_PASSWORD": mlflow.secret,
    }


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
