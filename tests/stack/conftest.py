"""A small stack of its own, for tests that start, kill and stop it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinkube.services import state
from thinkube.services.state import LocalService
from thinkube.stack.down import down


@pytest.fixture
def own_home(empty_home: Path) -> Iterator[Path]:
    """A home of its own whose stack, if any, is taken down."""
    yield empty_home
    down()


@pytest.fixture
def local() -> Callable[[str], LocalService]:
    """A program's entry in the state file as it is now."""

    def read(name: str) -> LocalService:
        current = state.read()
        assert current
        return current.services[name]

    return read


@pytest.fixture
def runs() -> Callable[[int], bool]:
    """Whether a process runs (a zombie does not)."""
    import psutil

    def check(pid: int) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        return False

    return check


@pytest.fixture
def listens() -> Callable[[str], bool]:
    """Whether something listens at a local URL."""

    def check(url: str) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
            return True
        return False

    return check


@pytest.fixture
def members() -> Callable[[Path], list[int]]:
    """Processes that belong to a home: those with it in their environment."""
    import psutil

    def find(home: Path) -> list[int]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("THINKUBE_HOME") == str(home):
                    found.append(process.pid)
        return found

    return find
