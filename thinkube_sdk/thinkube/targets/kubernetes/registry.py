"""An OCI registry over its HTTP API: look up, mount, copy and push. https://github.com/opencontainers/distribution-spec"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

import httpx

from thinkube.model.errors import CredentialRejected, DeploymentError, ServiceUnreachable
from thinkube.targets.kubernetes.docker_login import login
from thinkube.targets.kubernetes.reference import Reference, base_url

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_KINDS = ", ".join((MANIFEST, INDEX, _DOCKER_MANIFEST, _DOCKER_INDEX))
_ATTEMPTS = 3
_PIECE = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A manifest as the registry has it."""

    content: dict[str, Any]
    digest: str
    kind: str


class Registry:
    """One registry's API, with the login that Docker has for it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._tokens: dict[str, str] = {}
        self._http = httpx.Client(
            base_url=base_url(host), timeout=httpx.Timeout(60.0, connect=10.0), follow_redirects=True,
            trust_env=not base_url(host).startswith("http://"),
        )  # fmt: skip

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def manifest(self, image: Reference) -> Stored | None:
        """The manifest of an image, or None where there is none."""
        path = f"/v2/{image.repository}/manifests/{image.version}"
        reply = self._ask("GET", path, image.repository, headers={"Accept": _KINDS})
        if reply.status_code == 404:
            return None
        self._expect(reply, f"the image {image} can't be read", 200)
        digest = f"sha256:{hashlib.sha256(reply.content).hexdigest()}"
        if image.digest and image.digest != digest:
            raise DeploymentError(f"{self.host} gave something else than {image}.", "Push that image again.")
        return Stored(reply.json(), digest, reply.headers.get("content-type", MANIFEST).split(";")[0])

    def blob(self, repository: str, digest: str) -> bytes:
        """A small blob, such as an image's configuration."""
        reply = self._ask("GET", f"/v2/{repository}/blobs/{digest}", repository)
        self._expect(reply, f"{digest} of {repository} can't be read", 200)
        return reply.content

    def pieces(self, repository: str, digest: str) -> Iterator[bytes]:
        """A large blob, piece by piece."""
        path = f"/v2/{repository}/blobs/{digest}"
        with self._http.stream("GET", path, headers=self._headers(repository)) as reply:
            self._expect(reply, f"{digest} of {repository} can't be read", 200)
            yield from reply.iter_bytes(_PIECE)

    def has(self, repository: str, digest: str) -> bool:
        """Whether a repository has a blob."""
        return self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", repository).status_code == 200

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Let a repository have another one's blob, without moving a byte; whether that was possible."""
        path = f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}"
        reply = self._ask("POST", path, repository, source)
        if reply.status_code == 202:  # the registry offers an upload instead
            self._ask("DELETE", urljoin(str(reply.url), reply.headers["location"]), repository)
        return reply.status_code == 201

    def push(self, repository: str, digest: str, content: bytes | Path) -> None:
        """Bring a blob there, unless it is."""
        if self.has(repository, digest):
            return
        started = self._ask("POST", f"/v2/{repository}/blobs/uploads/", repository)
        self._expect(started, f"nothing can be pushed to {self.host}/{repository}", 202)
        place = urljoin(str(started.url), started.headers["location"])
        place += f"{'&' if '?' in place else '?'}digest={digest}"
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        body = content if isinstance(content, bytes) else _read(content)
        reply = self._send("PUT", place, repository, headers=headers, content=body)
        self._expect(reply, f"{digest} can't be pushed to {self.host}/{repository}", 201)

    def push_manifest(self, image: Reference, content: bytes) -> None:
        """Give an image its name."""
        path = f"/v2/{image.repository}/manifests/{image.version}"
        reply = self._ask("PUT", path, image.repository, headers={"Content-Type": MANIFEST}, content=content)
        self._expect(reply, f"{image} can't be pushed", 201)

    def _ask(
        self, method: str, path: str, repository: str, source: str = "", **options: Any
    ) -> httpx.Response:
        """Ask, after a login where the registry asks for one, and again when the connection breaks."""
        for attempt in range(_ATTEMPTS):
            try:
                reply = self._send(method, path, repository, source, **options)
            except ServiceUnreachable:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            if reply.status_code != 401 or attempt == _ATTEMPTS - 1:
                return reply
            self._log_in(reply, repository, source)
        raise AssertionError("unreachable")

    def _send(
        self, method: str, path: str, repository: str, source: str = "", **options: Any
    ) -> httpx.Response:
        headers = {**self._headers(repository, source), **options.pop("headers", {})}
        try:
            return self._http.request(method, path, headers=headers, **options)
        except httpx.TransportError as error:
            raise ServiceUnreachable(
                f"The registry {self.host} does not answer at {self._http.base_url}: {error}.",
                "Is it up? `registry` and `runtime` of the context say which registries are used.",
            ) from error

    def _headers(self, repository: str, source: str = "") -> dict[str, str]:
        token = self._tokens.get(f"{repository} {source}") or self._tokens.get("")
        return {"Authorization": token} if token else {}

    def _log_in(self, reply: httpx.Response, repository: str, source: str) -> None:
        """Answer the registry's challenge: with the password itself, or with a token that one gets for it."""
        challenge = reply.headers.get("www-authenticate", "")
        known = login(self.host)
        if challenge.lower().startswith("basic"):
            if known is None or self._tokens:
                raise self._rejected(reply)
            both = base64.b64encode(f"{known.username}:{known.password}".encode()).decode()
            self._tokens[""] = f"Basic {both}"
            return
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in asked:
            raise self._rejected(reply)
        scopes = [f"repository:{repository}:pull,push", *([f"repository:{source}:pull"] if source else [])]
        query = [("service", asked.get("service", "")), *(("scope", scope) for scope in scopes)]
        if known is not None and known.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": known.identity_token,
                    "client_id": "thinkube", "service": asked.get("service", ""),
                    "scope": " ".join(scopes)}  # fmt: skip
            given = self._http.post(asked["realm"], data=form)
        else:
            auth = (known.username, known.password) if known else None
            given = self._http.get(asked["realm"], params=query, auth=auth)
        if given.status_code != 200:
            raise self._rejected(given)
        read = given.json()
        self._tokens[f"{repository} {source}"] = f"Bearer {read.get('token') or read['access_token']}"

    def _expect(self, reply: httpx.Response, cause: str, status: int) -> None:
        if reply.status_code in (401, 403):
            raise self._rejected(reply)
        if reply.status_code != status:
            reply.read()
            raise DeploymentError(
                f"{cause[0].upper()}{cause[1:]}: {self.host} answered {reply.status_code} {_told(reply)}.",
                "Look into the registry's log.",
            )

    def _rejected(self, reply: httpx.Response) -> CredentialRejected:
        whose = "the login that Docker has for it" if login(self.host) else "a request without a login"
        return CredentialRejected(
            f"The registry {self.host} refuses {whose} ({reply.status_code}).",
            f"Log in with an account that may push: docker login {self.host}",
        )


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _told(reply: httpx.Response) -> str:
    try:
        return "; ".join(str(each.get("message")) for each in reply.json()["errors"])
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return reply.text[:200]
