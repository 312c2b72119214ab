"""Whether a service answers, and takes the credential we have for it. Standard library only."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import CredentialRejected, ServiceUnreachable
from thinkube.services.discovery import ARGUMENT, CONTEXT, LOCAL_STACK
from thinkube.services.table import SERVICES

Health = Literal["up", "refused", "down"]

_VERSION = re.compile(r"v?\d+(\.\w+)+[\w.+-]*")

UNTRUSTED = "its certificate is not trusted"

_PORTS = {"http": 80, "https": 443, "nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Finding:
    """What one probe saw.

    Attributes:
        health: `up`; `refused` when it answers and rejects the credential; `down`.
        milliseconds: until the answer came.
        detail: what went wrong, in words.
        version: the service's own, where it tells.
        ahead: seconds its clock is ahead of ours, where it tells the time.
    """

    health: Health
    milliseconds: float
    detail: str = ""
    version: str = ""
    ahead: float | None = None


class Answer(NamedTuple):
    """What a service said to one question."""

    health: Health
    detail: str = ""
    version: str = ""
    date: str = ""


def probe(endpoint: Endpoint, timeout: float = 2.0, *, version: bool = False) -> Finding:
    """Ask a service once whether it works with its credential.

    Args:
        endpoint: where it is.
        timeout: seconds to wait for an answer.
        version: also ask for its version, where that takes a second question.
    """
    began = time.perf_counter()
    answer = _probe(endpoint, timeout)
    taken = (time.perf_counter() - began) * 1000
    told = answer.version
    if version and not told and answer.health == "up":
        told = _version(endpoint, timeout)
    return Finding(answer.health, taken, answer.detail, told, _ahead(answer.date))


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return None  # it doesn't tell the time


def _version(endpoint: Endpoint, timeout: float) -> str:
    entry = SERVICES["mlflow" if endpoint.backend == "mlflow" else endpoint.service]
    if not entry.version:
        return ""
    base = endpoint.url
    if endpoint.service == "llm":
        base = base.removesuffix("/v1")
    request = urllib.request.Request(base + entry.version, headers=authorization(endpoint))
    try:
        with open_url(request, timeout) as answer:
            text = answer.read(65536).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        return ""  # it works all the same
    with contextlib.suppress(ValueError):
        told = json.loads(text)
        text = (
            str(told.get("version") or told.get("litellm_version") or "") if isinstance(told, dict) else text
        )
    return text if _VERSION.fullmatch(text) else ""


def reach(endpoint: Endpoint, timeout: float = 2.0) -> None:
    """Make sure that something listens at an endpoint.

    Raises:
        ServiceUnreachable: nothing does.
    """
    parts = urlsplit(endpoint.url)
    address = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if parts.hostname not in _LOOPBACK and urllib.request.getproxies():
        return  # the way there leads through a proxy, which a plain connection can't judge
    try:
        socket.create_connection(address, timeout).close()
    except OSError as error:
        raise unreachable(endpoint, error.strerror or str(error)) from error


def verify(endpoint: Endpoint, timeout: float = 5.0) -> None:
    """Make sure that a service answers and takes its credential; asked once a process and place.

    Credentials of the local stack were made by it, so reaching it is enough there.

    Raises:
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the credential.
    """
    reach(endpoint)
    if endpoint.source.startswith(LOCAL_STACK):
        return
    key = (endpoint.service, endpoint.url, endpoint.credential)
    if key in _verified:
        return
    finding = probe(endpoint, timeout)
    if finding.health == "down":
        raise unreachable(endpoint, finding.detail)
    if finding.health == "refused":
        raise rejected(endpoint)
    _verified.add(key)


_verified: set[object] = set()


def unreachable(endpoint: Endpoint, reason: str) -> ServiceUnreachable:
    """The error for a service that doesn't answer."""
    title = SERVICES[endpoint.service].title
    if endpoint.source.startswith(LOCAL_STACK):
        fix = "See `thinkube status`; restart it with `thinkube down` and `thinkube up`."
    elif reason.startswith(UNTRUSTED):
        fix = (
            "Have SSL_CERT_FILE (for MLflow also REQUESTS_CA_BUNDLE, for S3 AWS_CA_BUNDLE) name a file "
            "with the certificate of who signed it. `thinkube doctor` tells whether the clock is wrong."
        )
    else:
        fix = "Check that it runs there and that this machine may reach it; `thinkube status` probes it."
    return ServiceUnreachable(
        f"{title} at {endpoint.url} does not answer ({reason}). Found through {endpoint.source}.", fix
    )


def rejected(endpoint: Endpoint) -> CredentialRejected:
    """The error for a service that refuses its credential."""
    entry = SERVICES[endpoint.service]
    asked = SERVICES["mlflow"] if endpoint.backend == "mlflow" else entry
    secrets = sorted({each.secret for each in asked.environments if each.secret})
    having = "the credential" if endpoint.credential else "a request without a credential"
    fix = f"Set {' or '.join(secrets)} beside the URL, to a value that this service knows."
    if endpoint.source.startswith(ARGUMENT):
        given = "as `credential` one that" if endpoint.credential else "`credential` beside `url`, one that"
        fix = f'Give {given} this service knows, such as tk.secret("{secrets[0]}").'
    if endpoint.source.startswith(CONTEXT):
        fix = "Name its secret there (`secret`), and set that with `thinkube secret set` to one it knows."
    return CredentialRejected(
        f"{entry.title} at {endpoint.url} refuses {having}. URL and credential come from {endpoint.source}.",
        fix,
    )


def _probe(endpoint: Endpoint, timeout: float) -> Answer:
    if endpoint.service == "nats":
        from thinkube.services.messages import handshake

        return handshake(endpoint, timeout)
    if endpoint.service == "s3":
        from thinkube.services.files import ask

        return ask(endpoint, timeout)
    return _ask(endpoint, check_url(endpoint), timeout)


def check_url(endpoint: Endpoint) -> str:
    """The URL that tells whether a credential is right."""
    service = "mlflow" if endpoint.backend == "mlflow" else endpoint.service
    check = SERVICES[service].check
    base = endpoint.url
    if service == "llm" and urlsplit(base).path:
        base, check = base, check.removeprefix("/v1")  # OpenAI's own form ends in /v1 or another path
    return base + check


def authorization(endpoint: Endpoint) -> dict[str, str]:
    """The HTTP header that carries an endpoint's credential."""
    credential = endpoint.credential
    if credential is None:
        return {}
    if endpoint.service == "qdrant":
        return {"api-key": credential.secret}
    if credential.username is not None:
        pair = base64.b64encode(f"{credential.username}:{credential.secret}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {"Authorization": f"Bearer {credential.secret}"}


def _ask(endpoint: Endpoint, url: str, timeout: float) -> Answer:
    request = urllib.request.Request(url, headers=authorization(endpoint))
    try:
        with open_url(request, timeout) as answer:
            return Answer("up", date=answer.headers.get("Date", ""))
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            health, detail = _judge(endpoint, error, timeout)
            return Answer(health, detail, date=error.headers.get("Date", ""))
    except (OSError, http.client.HTTPException) as error:
        return Answer("down", failure(error))


def _judge(endpoint: Endpoint, error: urllib.error.HTTPError, timeout: float) -> tuple[Health, str]:
    """What an answer other than success means."""
    said = f"HTTP {error.code}"
    # LiteLLM without a database answers 400 to a key that is not its own.
    if error.code in (401, 403) or (error.code == 400 and b"no_db_connection" in error.read(4096)):
        return "refused", said
    # LiteLLM and MLflow fail over a credential of another form; both are well otherwise.
    if error.code >= 500 and error.code != 501:
        return ("refused" if _well(endpoint, timeout) else "down"), said
    # Some servers of the OpenAI API have no list of models.
    if error.code in (404, 501) and endpoint.service != "llm":
        return "down", f"what answers there is no {SERVICES[endpoint.service].title}"
    return "up", ""


def failure(error: OSError | http.client.HTTPException) -> str:
    """Why a request got no answer, in words."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"{UNTRUSTED}: {reason.verify_message}"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _well(endpoint: Endpoint, timeout: float) -> bool:
    """Whether the service answers when nobody logs in."""
    path = SERVICES["mlflow" if endpoint.backend == "mlflow" else endpoint.service].probe
    try:
        with open_url(urllib.request.Request(endpoint.url + path), timeout):
            return bool(path)
    except OSError:
        return False


def open_url(request: urllib.request.Request, timeout: float) -> Any:
    """Open a URL: through the environment's proxy, but never so to this machine."""
    local = urlsplit(request.full_url).hostname in _LOOPBACK
    settings = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    proxies = tuple(sorted(urllib.request.getproxies().items()))
    return _opener(local, settings, proxies).open(request, timeout=timeout)


@cache
def _opener(local: bool, *_settings: object) -> urllib.request.OpenerDirector:
    # A proxy set for the network must not get requests to this machine.
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
