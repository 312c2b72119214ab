"""The supervisor's Unix socket: one JSON line asks, one JSON line answers.

Standard library only. The socket lies in a folder that only its user may enter.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thinkube.model.errors import DeploymentError

Answer = Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]]


def listen(path: Path) -> socket.socket:
    """Open the socket, in place of one that a killed supervisor left."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(16)
    return server


def serve(server: socket.socket, answer: Answer) -> None:
    """Answer each connection in a thread of its own, until the socket is shut."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_converse, args=(connection, answer), daemon=True).start()


def _converse(connection: socket.socket, answer: Answer) -> None:
    with (
        connection,
        connection.makefile("rb") as lines,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        line = lines.readline()
        if line:
            result = answer(json.loads(line), lambda: _gone(connection))
            connection.sendall(json.dumps(result).encode() + b"\n")


def _gone(connection: socket.socket) -> bool:
    """Whether the asker has hung up: it sends nothing after its question, so that readable means closed."""
    return bool(select.select([connection], [], [], 0)[0])


def ask(path: Path, question: Mapping[str, Any], timeout: float | None = 30.0) -> dict[str, Any]:
    """Ask a supervisor.

    Raises:
        DeploymentError: nobody answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
        except OSError as error:
            raise DeploymentError(
                f"The supervisor at {path} does not answer: {error}.",
                "Look into supervisor.log beside it; `thinkube up` starts it again.",
            ) from error
    if not line:
        raise DeploymentError(
            f"The supervisor at {path} ended before it answered.",
            "Look into supervisor.log beside it; `thinkube up` starts it again.",
        )
    answer: dict[str, Any] = json.loads(line)
    return answer
