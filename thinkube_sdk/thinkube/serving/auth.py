"""Who may call: bearer keys, JWTs of an OpenID Connect issuer, and how often."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from thinkube.model.errors import ConfigurationError
from thinkube.model.keys import Key, digest, read
from thinkube.serving.log import caller, event, trace_id
from thinkube.serving.wire import Refused, reply

# Answered without a key: probes, and what tells a caller how to call.
OPEN = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_SCOPES = {"/metrics": "metrics"}
_CALLERS = 10_000  # whose rate is remembered at once


@dataclass(frozen=True)
class Caller:
    """Who a request comes from.

    Attributes:
        id: the key's id or the token's subject; it stands in the log.
        scopes: what they may do.
        user: the person, where a token says so; a trace's user if the request names none.
    """

    id: str
    scopes: frozenset[str]
    user: str | None = None


class Authority(Protocol):
    """Something that can tell from a bearer token who calls."""

    async def caller(self, token: str) -> Caller | None:
        """Who the token belongs to; None if it is not one of this authority's.

        Raises:
            Refused: it is one of this authority's, and not valid.
        """


@dataclass
class Keys:
    """The keys in a file, read again when the file changes: a revoked one is refused with the next request.

    Attributes:
        path: the file; what it holds are digests.
    """

    path: Path
    _stamp: tuple[int, int] | None = None
    _known: dict[str, Key] = field(default_factory=dict)

    def load(self) -> None:
        """Read the file if it has changed.

        Raises:
            ConfigurationError: it can't be read.
        """
        try:
            now = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._known = None, {}
            return
        if (stamp := (now.st_mtime_ns, now.st_ino)) != self._stamp:
            self._known = {key.sha256: key for key in read(self.path)}
            self._stamp = stamp

    async def caller(self, token: str) -> Caller | None:
        try:
            self.load()
        except (ConfigurationError, OSError) as error:
            event("the keys can't be read", logging.ERROR, reason=str(error))
            raise Refused(503, "keys_unavailable", "The keys can't be checked right now.") from error
        key = self._known.get(digest(token))
        if key is None:
            return None
        if key.expired(time.time()):
            raise unauthorized("expired_api_key", f"The key {key.id} ({key.name}) has expired.")
        return Caller(key.id, frozenset(key.scopes))


@dataclass
class Rate:
    """A token bucket for each caller.

    Attributes:
        per_second: requests a second that a caller may send in the long run.
        burst: how many at once after a pause.
    """

    per_second: float
    burst: float
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, caller: str) -> float:
        """Count a request; seconds to wait if it comes too soon, else 0."""
        now = time.monotonic()
        left, last = self._buckets.pop(caller, (self.burst, now))
        left = min(self.burst, left + (now - last) * self.per_second)
        allowed = left >= 1
        self._buckets[caller] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self.per_second


class Guard:
    """Lets through who may call, and remembers who it was.

    Args:
        authorities: who is asked about a token, in this order; with none, everyone may call.
        rate: how often each may call; None for as often as they like.
    """

    def __init__(self, app: ASGIApp, authorities: tuple[Authority, ...], rate: Rate | None) -> None:
        self._app = app
        self._authorities = authorities
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            who = await self._identify(scope)
            wait = self._rate.take(who.id) if self._rate is not None else 0.0
            if wait > 0:
                message = f"{who.id} sends more requests than {self._rate_words()}. Try again later."
                headers = {"retry-after": str(max(1, round(wait + 0.5)))}
                raise Refused(429, "rate_limit_exceeded", message, headers=headers)
        except Refused as error:
            answer = reply(error.body(trace_id.get() or ""), error.headers, error.status)
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = who
        caller.set(who.id)
        await self._app(scope, receive, send)

    async def _identify(self, scope: Scope) -> Caller:
        if not self._authorities:
            address = scope.get("client")
            return Caller(address[0] if address else "unknown", frozenset({"invoke", "metrics"}))
        token = _bearer(scope)
        if token is None:
            raise unauthorized("missing_api_key", "Send a key of this deployment: Authorization: Bearer KEY.")
        for authority in self._authorities:
            who = await authority.caller(token)
            if who is not None:
                needed = _SCOPES.get(scope["path"], "invoke")
                if needed not in who.scopes:
                    message = f"{who.id} may not do this: it takes the scope {needed}."
                    raise Refused(403, "insufficient_scope", message)
                return who
        raise unauthorized("invalid_api_key", "That is no valid key of this deployment.")

    def _rate_words(self) -> str:
        assert self._rate is not None
        return f"{self._rate.per_second:g} a second"


def person(scope: Scope) -> str | None:
    """The person a request comes from, where their token says so."""
    who = scope.get("state", {}).get("caller")
    return who.user if who is not None else None


def unauthorized(kind: str, message: str) -> Refused:
    """A 401 in the form that HTTP asks for."""
    return Refused(401, kind, message, headers={"www-authenticate": 'Bearer realm="thinkube"'})


def given_keys(variable: str) -> list[str]:
    """Keys that the environment hands over in plain, separated by commas or spaces; taken out of it."""
    return os.environ.pop(variable, "").replace(",", " ").split()


@dataclass(frozen=True)
class Given:
    """Keys from the process's environment, as a container gets them. Only their digests are held."""

    digests: frozenset[str]

    async def caller(self, token: str) -> Caller | None:
        known = (hashed := digest(token)) in self.digests
        return Caller(f"env-{hashed[:8]}", frozenset({"invoke", "metrics"})) if known else None


def _bearer(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if kind.lower() == "bearer" and token.strip() else None
        if name == b"x-api-key":  # as some gateways and Anthropic's clients send it
            return value.decode("latin-1").strip() or None
    return None
