"""The keys of one deployment, as its owner sees them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from thinkube.model.errors import UsageError
from thinkube.model.keys import SCOPES, Key, changing, digest, new_key, read
from thinkube.model.private import write_private

OWNER = "owner"


class KeyRing(Protocol):
    """Makes, lists and revokes keys, wherever the deployment runs."""

    def own(self) -> str:
        """The key that its owner's own calls are made with."""

    def create(self, name: str, scopes: Sequence[str] = ("invoke",), seconds: float | None = None) -> str:
        """Make a key and return its text, which is not kept anywhere.

        Raises:
            UsageError: see `thinkube.model.keys.new_key`.
        """

    def list(self) -> Sequence[Key]:
        """The keys that are valid, or were until they expired; never their texts."""

    def revoke(self, key: str) -> Key:
        """Make a key invalid, from the next request on.

        Args:
            key: its id, or its name if no other has that.

        Raises:
            UsageError: there is none, or the name is not clear.
        """


@dataclass(frozen=True)
class FileKeys:
    """Keys in two files of a folder: the digests of all, and the owner's own key, each readable by its owner.

    Attributes:
        path: the digests; the running agent reads this file.
        owner: the owner's key.
    """

    path: Path
    owner: Path

    def own(self) -> str:
        text = self.owner.read_text(encoding="utf-8").strip() if self.owner.exists() else ""
        if text and any(key.sha256 == digest(text) for key in read(self.path)):
            return text
        # None yet, or it was revoked: the next takes its place.
        text, kept = new_key(f"{OWNER} {os.environ.get('USER', '')}".strip(), SCOPES)
        with changing(self.path) as keys:
            keys.append(kept)
        write_private(self.owner, text)
        return text

    def create(self, name: str, scopes: Sequence[str] = ("invoke",), seconds: float | None = None) -> str:
        text, kept = new_key(name, scopes, seconds)
        with changing(self.path) as keys:
            keys.append(kept)
        return text

    def list(self) -> tuple[Key, ...]:
        return read(self.path)

    def revoke(self, key: str) -> Key:
        with changing(self.path) as keys:
            found = chosen(keys, key)
            keys.remove(found)
        return found


def chosen(keys: Sequence[Key], wanted: str) -> Key:
    """The key of an id or name.

    Raises:
        UsageError: there is none, or several have the name.
    """
    found = [key for key in keys if key.id == wanted] or [key for key in keys if key.name == wanted]
    if not found:
        known = ", ".join(f"{key.id} ({key.name})" for key in keys) or "none"
        raise UsageError(f"There is no key {wanted!r}.", f"There is {known}.")
    if len(found) > 1:
        ids = ", ".join(key.id for key in found)
        raise UsageError(f"{len(found)} keys have the name {wanted!r}.", f"Say which by its id: {ids}.")
    return found[0]
