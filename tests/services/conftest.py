"""A port where nothing listens."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
