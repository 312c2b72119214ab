"""What every test can ask for: a home of its own, and the real stack, started once a session."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinkube.services.state import State
from thinkube.services.table import SERVICES

_FOREIGN = {
    variable
    for service in SERVICES.values()
    for way in service.environments
    for variable in (way.url, way.secret, way.username, *(each for _, each in way.options))
    if variable
} | {"THINKUBE_EXPORTED", "THINKUBE_CONTEXT", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"}


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A THINKUBE_HOME for the whole session, without the tester's own services in the environment."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in _FOREIGN & set(os.environ):
            patch.delenv(variable)
        patch.setenv("THINKUBE_HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))  # the tester's contexts stay out of it
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")  # and the tester's keyring
        yield folder


@pytest.fixture(scope="session")
def stack(home: Path) -> Iterator[State]:
    """The real stack in `home`, taken down at the end. Environments come from the usual cache."""
    from thinkube.stack.down import down
    from thinkube.stack.up import up

    assert str(home) == os.environ["THINKUBE_HOME"]
    try:
        yield up()
    finally:
        down()


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A THINKUBE_HOME where nothing runs, and no client's leftovers in the environment."""
    monkeypatch.setenv("THINKUBE_HOME", str(tmp_path / "home"))
    for variable in _FOREIGN & set(os.environ):
        monkeypatch.delenv(variable)
    return tmp_path / "home"


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait for a condition, with a deadline."""

    def wait(condition: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{condition} still does not hold after {seconds} s"
            time.sleep(0.05)

    return wait
