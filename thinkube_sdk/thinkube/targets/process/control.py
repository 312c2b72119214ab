"""The supervisor's Unix socket: one JSON line asks, one JSON line answers.

Standard library only. The socket lies in a folder that only its user may enter.
"""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from thinkube.model.errors import DeploymentError


class Talk:
    """One connection, seen from either side: a JSON value a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")

    def say(self, value: Mapping[str, Any]) -> None:
        self._connection.sendall(json.dumps(value).encode() + b"\n")

    def hear(self) -> dict[str, Any] | None:
        """What the other side says next; None when it has hung up."""
        line = self._lines.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def gone(self) -> bool:
        """Whether the other side has hung up."""
        if not select.select([self._connection], [], [], 0)[0]:
            return False
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


Answer = Callable[[Mapping[str, Any], Talk], Mapping[str, Any]]


def listen(path: Path) -> socket.socket:
    """Open the socket, in place of one that a killed supervisor left."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    if folder.st_uid != os.getuid() or folder.st_mode & 0o077:
        raise SystemExit(f"{path.parent} is open to others: no credential is taken over a socket in it")
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(16)
    return server


def serve(server: socket.socket, answer: Answer) -> None:
    """Answer each connection's first line in a thread of its own, until the socket is shut."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_answered, args=(connection, answer), daemon=True).start()


def _answered(connection: socket.socket, answer: Answer) -> None:
    with closing(Talk(connection)) as talk, suppress(BrokenPipeError, ConnectionResetError):
        question = talk.hear()
        if question is not None:
            talk.say(answer(question, talk))


@contextmanager
def talking(path: Path, timeout: float) -> Iterator[Callable[[Mapping[str, Any]], dict[str, Any]]]:
    """Talk with a supervisor: the function says one thing and returns the answer.

    Raises:
        DeploymentError: nobody answers.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    with closing(Talk(connection)) as talk:

        def ask(question: Mapping[str, Any]) -> dict[str, Any]:
            try:
                talk.say(question)
                answer = talk.hear()
            except OSError as error:
                raise _silent(path, str(error)) from error
            if answer is None:
                raise _silent(path, "it ended before it answered")
            return answer

        try:
            connection.connect(str(path))
        except OSError as error:
            raise _silent(path, str(error)) from error
        yield ask


def ask(path: Path, question: Mapping[str, Any], timeout: float = 30.0) -> dict[str, Any]:
    """Ask a supervisor one thing.

    Raises:
        DeploymentError: nobody answers.
    """
    with talking(path, timeout) as say:
        return say(question)


def _silent(path: Path, reason: str) -> DeploymentError:
    return DeploymentError(
        f"The supervisor at {path} does not answer: {reason}.",
        "Look into supervisor.log beside it; `thinkube up` starts it again.",
    )
