"""Answers for an agent that keeps crashing, so that its callers are told rather than left waiting.

Standard library only.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from contextlib import suppress

READ_SECONDS = 1.0


def turn_away(listener: socket.socket, name: str, seconds: float, ending: threading.Event) -> None:
    """Answer every connection with 503 for some seconds, or until `ending` is set."""
    deadline = time.monotonic() + seconds
    while not ending.is_set() and (left := deadline - time.monotonic()) > 0:
        if not select.select([listener], [], [], min(left, 0.1))[0]:
            continue
        # The workers set the socket they share with us to non-blocking.
        with suppress(BlockingIOError, ConnectionError):
            connection, _ = listener.accept()
            threading.Thread(
                target=_refuse, args=(connection, name, max(1, round(left))), daemon=True
            ).start()


def _refuse(connection: socket.socket, name: str, wait: int) -> None:
    message = f"{name} keeps crashing and is tried again; its status and log say why."
    body = json.dumps(
        {"error": {"message": message, "type": "unavailable", "param": None, "code": "unavailable"}}
    )
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body.encode())}\r\nretry-after: {wait}\r\nconnection: close\r\n\r\n"
    )
    with connection, suppress(OSError):
        connection.settimeout(READ_SECONDS)
        connection.recv(65536)
        connection.sendall((head + body).encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # what is left unread would reset the connection before it is answered
            pass
