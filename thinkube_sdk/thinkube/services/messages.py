"""Messages through NATS."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.services.discovery import find
from thinkube.services.installed import load
from thinkube.services.probe import Answer, failure, rejected, unreachable

if TYPE_CHECKING:
    from nats.aio.client import Client


async def nats(
    *, url: str | None = None, credential: Credential | str | None = None, **options: Any
) -> Client:
    """A connected NATS client: `nc = await tk.nats()`.

    Args:
        url: where the service is, if it should not be looked for.
        credential: its token, or user and password, together with `url`.
        options: passed on to `nats.connect`, such as `name="indexer"`.

    Raises:
        ServiceNotFound: no NATS is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the credential.
        ClientMissing: `nats-py` is not installed.

    Example:
        nc = await tk.nats()
        await nc.publish("documents.added", b"42")
    """
    endpoint = find("nats", url, credential)
    library = load("nats", "nats")
    # The client would try again for ever, which is right for a connection that was good once.
    answer = await asyncio.to_thread(handshake, endpoint, 2.0)
    if answer.health == "refused":
        raise rejected(endpoint)
    if answer.health == "down":
        raise unreachable(endpoint, answer.detail)
    try:
        client: Client = await library.connect(
            endpoint.url, **{"max_reconnect_attempts": -1, **_login(endpoint), **options}
        )
    except (OSError, library.errors.Error) as error:
        raise unreachable(endpoint, str(error) or type(error).__name__) from error
    return client


def _login(endpoint: Endpoint) -> dict[str, str]:
    credential = endpoint.credential
    if credential is None:
        return {}
    if credential.username is None:
        return {"token": credential.secret}
    return {"user": credential.username, "password": credential.secret}


def handshake(endpoint: Endpoint, timeout: float) -> Answer:
    """Log in to a NATS server over a bare socket and ask for a PONG: the protocol's own liveness check."""
    parts = urlsplit(endpoint.url)
    login = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1}
    for key, value in _login(endpoint).items():
        login[{"token": "auth_token", "password": "pass"}.get(key, key)] = value
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 4222), timeout) as plain:
            try:
                banner = plain.recv(65536)
            except TimeoutError:
                banner = b""  # a server that waits for us to speak first
            if not banner.startswith(b"INFO "):
                return Answer("down", "what listens there is no NATS server")
            server = json.loads(banner[5:])
            needs_tls = parts.scheme == "tls" or bool(server.get("tls_required"))
            link = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
                if needs_tls
                else plain
            )
            link.sendall(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
            return _answer(link, str(server.get("version", "")))
    except OSError as error:
        return Answer("down", failure(error))
    except ValueError:
        return Answer("down", "what listens there is no NATS server")


def _answer(link: socket.socket, version: str) -> Answer:
    received = b""
    while chunk := link.recv(4096):
        received += chunk
        if b"PONG" in received:
            return Answer("up", version=version)
        if b"-ERR" in received:
            break
    if b"authorization" in received.lower():
        return Answer("refused", "authorization violation")
    return Answer("down", received.decode(errors="replace").strip() or "it closed the connection")
