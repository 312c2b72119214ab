"""A cluster deployment's keys: digests in a Secret that its pods mount, and the owner's own in another."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from thinkube.model.keys import SCOPES, Key, digest, new_key, parse, text_of
from thinkube.services.kubernetes_api import KubernetesApi
from thinkube.targets.keys import OWNER, chosen
from thinkube.targets.kubernetes.manifests import COMPONENT, KEYS_FILE, MANAGED_BY, NAME, keys_secret

_OWN = "key"


@dataclass(frozen=True)
class SecretKeys:
    """See `KeyRing`. A change reaches running pods when the kubelet looks next, within about a minute.

    Attributes:
        api: of the cluster, in the deployment's namespace.
        name: the deployment's.
    """

    api: KubernetesApi
    name: str

    def own(self) -> str:
        text = self._read(self._owner).get(_OWN, "")
        if text and any(key.sha256 == digest(text) for key in self.list()):
            return text
        text, kept = new_key(OWNER, SCOPES)
        with self._changing() as keys:
            keys.append(kept)
        self._write(self._owner, {_OWN: text})
        return text

    def create(self, name: str, scopes: Sequence[str] = ("invoke",), seconds: float | None = None) -> str:
        text, kept = new_key(name, scopes, seconds)
        with self._changing() as keys:
            keys.append(kept)
        return text

    def list(self) -> tuple[Key, ...]:
        text = self._read(keys_secret(self.name)).get(KEYS_FILE)
        return () if text is None else parse(text)

    def revoke(self, key: str) -> Key:
        with self._changing() as keys:
            found = chosen(keys, key)
            keys.remove(found)
        return found

    def remove(self) -> None:
        """Remove both Secrets, with their deployment."""
        for secret in (keys_secret(self.name), self._owner):
            self.api.delete("Secret", secret)

    @property
    def _owner(self) -> str:
        return f"{self.name}-owner-key"

    @contextmanager
    def _changing(self) -> Iterator[MutableSequence[Key]]:
        keys = [*self.list()]
        yield keys
        self._write(keys_secret(self.name), {KEYS_FILE: text_of(keys)})

    def _read(self, secret: str) -> dict[str, str]:
        data = (self.api.get("Secret", secret) or {}).get("data") or {}
        return {key: base64.b64decode(packed).decode() for key, packed in data.items()}

    def _write(self, secret: str, values: Mapping[str, str]) -> None:
        labels = {NAME: self.name, MANAGED_BY: "thinkube", COMPONENT: "keys"}
        self.api.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": secret, "labels": labels},
                "type": "Opaque",
                "data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()},
            }
        )
