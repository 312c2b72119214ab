"""The keys of a deployment: what a caller shows, and what is kept of it.

Standard library only. A key is `tk_<id>_<secret>` with 256 random bits, so that its SHA-256 is enough to
keep: there is nothing to guess, and nothing to slow a guesser down for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thinkube.model.errors import ConfigurationError, UsageError
from thinkube.model.private import write_private

FORMAT = 1
SCOPES = ("invoke", "metrics")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,63}")


@dataclass(frozen=True)
class Key:
    """One key, as it is kept.

    Attributes:
        id: the part of the key that is no secret; it stands in logs.
        name: whose it is, in words.
        sha256: of the whole key.
        scopes: what it may do: `invoke` (runs, threads, models), `metrics`.
        created: seconds since the epoch.
        expires: seconds since the epoch; None if it never does.
    """

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None = None

    def expired(self, now: float) -> bool:
        return self.expires is not None and now >= self.expires

    def described(self) -> dict[str, Any]:
        """Everything about it but its digest, for people and programs."""
        fields = asdict(self)
        del fields["sha256"]
        return {**fields, "scopes": list(self.scopes), "expired": self.expired(time.time())}


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(name: str, scopes: Sequence[str] = ("invoke",), seconds: float | None = None) -> tuple[str, Key]:
    """Make a key: its text, which is shown once, and what is kept of it.

    Args:
        seconds: how long it is valid; for ever if not given.

    Raises:
        UsageError: a scope that there isn't, a name that can't be, or a time that is over at once.
    """
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise UsageError(f"There is no scope {', '.join(unknown)}.", f"Scopes are {', '.join(SCOPES)}.")
    if not scopes:
        raise UsageError("A key without a scope opens nothing.", f"Scopes are {', '.join(SCOPES)}.")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't name a key.",
            "Use up to 64 letters, digits, spaces and `._@-`.",
        )
    if seconds is not None and not seconds > 0:
        raise UsageError(f"A key that is valid for {seconds:g} s is never valid.", "Give more, or nothing.")
    now, id = time.time(), secrets.token_hex(4)
    text = f"tk_{id}_{secrets.token_urlsafe(32)}"
    expires = None if seconds is None else now + seconds
    return text, Key(id, name, digest(text), tuple(scopes), now, expires)


def read(path: Path) -> tuple[Key, ...]:
    """The keys in a file.

    Raises:
        ConfigurationError: it is damaged, or of another version of Thinkube.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The file of keys {path} is damaged: {error}.",
            "Remove it and deploy again. Keys handed out before are no longer valid then.",
        ) from error


def parse(text: str) -> tuple[Key, ...]:
    """The keys in a file's text."""
    document = json.loads(text)
    if document["version"] != FORMAT:
        raise ConfigurationError(
            f"The keys were written by another version of Thinkube (format {document['version']}).",
            "Use that version, or deploy under another name.",
        )
    return tuple(Key(**{**each, "scopes": tuple(each["scopes"])}) for each in document["keys"])


def text_of(keys: Sequence[Key]) -> str:
    """A file's text."""
    kept = [{**asdict(key), "scopes": list(key.scopes)} for key in keys]
    return json.dumps({"version": FORMAT, "keys": kept}, indent=1) + "\n"


@contextmanager
def changing(path: Path) -> Iterator[list[Key]]:
    """Change the keys in a file, for its owner's eyes alone; one change at a time, written in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = list(read(path))
        yield keys
        write_private(path, text_of(keys))
