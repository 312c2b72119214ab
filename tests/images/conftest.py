from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from builder import Builder, debian_root

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    assert os.getuid() == 0, "buildah's chroot isolation with an overlay store needs root"
    made = Builder(tmp_path_factory.mktemp("buildah"))
    yield made
    made.remove()


@pytest.fixture(scope="session")
def python_image(builder: Builder) -> str:
    """What stands in for `python:3.12-slim-bookworm`, which only a registry has."""
    return builder.root(debian_root(), "python:debian")


@pytest.fixture(scope="session")
def agent_runtime(builder: Builder, python_image: str) -> str:
    folder = REPOSITORY / "images" / "agent-runtime"
    return builder.build(folder / "Dockerfile", REPOSITORY, "agent-runtime", PYTHON=python_image)


@pytest.fixture(scope="session")
def jupyter_ml_cpu(builder: Builder, python_image: str) -> str:
    folder = REPOSITORY / "images" / "jupyter-ml-cpu"
    return builder.build(folder / "Dockerfile", REPOSITORY, "jupyter-ml-cpu", PYTHON=python_image)


@pytest.fixture(scope="session")
def jupyter_agent_dev(builder: Builder, jupyter_ml_cpu: str) -> str:
    folder = REPOSITORY / "images" / "jupyter-agent-dev"
    return builder.build(folder / "Dockerfile", REPOSITORY, "jupyter-agent-dev", BASE=jupyter_ml_cpu)
