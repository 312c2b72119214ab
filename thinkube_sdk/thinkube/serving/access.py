"""Who may call an agent, read from its environment."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from thinkube.model.errors import ConfigurationError
from thinkube.model.keys import digest
from thinkube.model.settings import (
    API_KEYS,
    AUTH,
    CORS_ORIGINS,
    KEYS,
    OIDC_AUDIENCE,
    OIDC_GROUPS,
    OIDC_ISSUER,
    REQUEST_RATE,
    Setting,
)
from thinkube.serving.auth import Authority, Given, Guard, Keys, Rate, given_keys

BURST_SECONDS = 10.0
SHORTEST = 16


@dataclass(frozen=True)
class Access:
    """Who may call.

    Attributes:
        authorities: who is asked about a token.
        off: everyone may call, and someone said so.
        rate: how often each caller may; None for no limit.
        origins: whose pages may call from a browser.
    """

    authorities: tuple[Authority, ...] = ()
    off: bool = False
    rate: Rate | None = None
    origins: tuple[str, ...] = ()

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application behind its guard. A browser's preflight carries no key and is answered before."""
        guarded: ASGIApp = Guard(app, self.authorities, self.rate)
        if not self.origins:
            return guarded
        return CORSMiddleware(
            guarded,
            allow_origins=self.origins,
            allow_methods=("GET", "POST", "DELETE", "PATCH"),
            allow_headers=("authorization", "content-type", "last-event-id", "x-session-id", "x-user-id"),
            expose_headers=("x-trace-id", "retry-after"),
        )

    def open_beyond(self, host: str) -> bool:
        """Whether strangers could call it at this address, and nobody said that they may."""
        return not self.authorities and not self.off and not _loopback(host)


def access(name: str) -> Access:
    """Read it.

    Args:
        name: the deployment's; the audience of tokens if no other is set.

    Raises:
        ConfigurationError: a setting is malformed, or the file of keys is.
    """
    auth = _text(AUTH) or AUTH.default
    if auth not in ("on", "off"):
        raise ConfigurationError(f"{AUTH.variable}={auth!r} is neither on nor off.", "Set one of them.")
    return Access(
        () if auth == "off" else tuple(_authorities(name)),
        auth == "off",
        _rate(),
        _list(CORS_ORIGINS),
    )


def _authorities(name: str) -> list[Authority]:
    found: list[Authority] = []
    if path := _text(KEYS):
        found.append(keys := Keys(Path(path)))
        keys.load()
    if given := given_keys(API_KEYS.variable):
        if any(len(key) < SHORTEST for key in given):
            raise ConfigurationError(
                f"{API_KEYS.variable} holds a key of fewer than {SHORTEST} characters, which can be guessed.",
                "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        found.append(Given(frozenset(map(digest, given))))
    if issuer := _text(OIDC_ISSUER):
        from thinkube.serving.oidc import Issuer

        found.append(Issuer(issuer, _text(OIDC_AUDIENCE) or name, frozenset(_list(OIDC_GROUPS))))
    return found


def _rate() -> Rate | None:
    text = _text(REQUEST_RATE)
    if not text:
        return None
    try:
        per_second = float(text)
    except ValueError:
        per_second = 0.0
    if not 0 < per_second < float("inf"):
        raise ConfigurationError(
            f"{REQUEST_RATE.variable}={text!r} is no number above zero.",
            "Say how many requests a second, as 5.",
        )
    return Rate(per_second, max(1.0, per_second * BURST_SECONDS))


def _text(setting: Setting) -> str:
    return (os.environ.get(setting.variable) or "").strip()


def _list(setting: Setting) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, _text(setting).split(","))))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
