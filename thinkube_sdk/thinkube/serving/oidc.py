"""JSON Web Tokens of an OpenID Connect issuer, such as Keycloak, as a caller's word for who they are."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from thinkube.serving.auth import Caller, unauthorized
from thinkube.serving.log import event
from thinkube.serving.wire import Refused

if TYPE_CHECKING:
    from jwt import PyJWK

# Asymmetric ones alone: with a shared secret, who can check a token could also make one.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KEEP_SECONDS = 300.0
_RETRY_SECONDS = 10.0  # at the earliest after the last look: an unknown key id costs no more than that
_LEEWAY_SECONDS = 30
_TIMEOUT = 5.0


@dataclass
class Issuer:
    """Takes tokens that an issuer signed for an audience.

    Attributes:
        issuer: its URL, as in a token's `iss`; its keys are found from `/.well-known/openid-configuration`.
        audience: what a token's `aud` has to hold: this deployment's client id.
        groups: of which a token's `groups` has to hold one; empty for everyone of the audience.
    """

    issuer: str
    audience: str
    groups: frozenset[str] = frozenset()
    _keys: dict[str, PyJWK] = field(default_factory=dict)
    _looked: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def caller(self, token: str) -> Caller | None:
        import jwt

        try:
            head = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return None  # no token at all: another authority's, or nobody's
        if claimed.get("iss") != self.issuer:
            return None
        key = await self._key(str(head.get("kid", "")))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[each for each in _ALGORITHMS if each == head.get("alg")],
                audience=self.audience,
                issuer=self.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise unauthorized("expired_token", "The token has expired.") from error
        except jwt.InvalidAudienceError as error:
            message = f"The token is not meant for {self.audience}."
            raise unauthorized("invalid_token", message) from error
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise unauthorized("invalid_token", "The token is not valid.") from error
        return self._admitted(claims)

    def _admitted(self, claims: dict[str, Any]) -> Caller:
        groups = claims.get("groups", [])
        theirs = {str(each).lstrip("/") for each in groups} if isinstance(groups, list) else set()
        if self.groups and not theirs & self.groups:
            raise Refused(403, "not_in_group", f"This takes a member of {', '.join(sorted(self.groups))}.")
        user = str(claims.get("preferred_username") or claims["sub"])
        return Caller(str(claims["sub"]), frozenset({"invoke"}), user)

    async def _key(self, id: str) -> PyJWK:
        """The issuer's key of an id; looked up again when it is new, or the last look is long ago."""
        async with self._lock:
            since = time.monotonic() - self._looked
            if since > (_KEEP_SECONDS if id in self._keys else _RETRY_SECONDS):
                try:
                    self._keys = await asyncio.to_thread(self._fetch)
                except (URLError, OSError, ValueError, KeyError) as error:
                    event("the issuer does not answer", logging.ERROR, issuer=self.issuer, reason=str(error))
                    if id not in self._keys:
                        message = "The token's issuer does not answer, so that it can't be checked."
                        raise Refused(503, "issuer_unavailable", message) from error
                self._looked = time.monotonic()
        if id not in self._keys:
            raise unauthorized("invalid_token", "The token's issuer has no such key.")
        return self._keys[id]

    def _fetch(self) -> dict[str, PyJWK]:
        import jwt

        described = _json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if described.get("issuer") != self.issuer:
            raise ValueError(f"it calls itself {described.get('issuer')!r}")
        found = {}
        for each in _json(described["jwks_uri"])["keys"]:
            try:
                found[str(each.get("kid", ""))] = jwt.PyJWK.from_dict(each)
            except jwt.PyJWTError:
                continue  # of a kind that signs nothing here, such as an encryption key
        return found


def _json(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
        document: dict[str, Any] = json.load(answer)
    return document
