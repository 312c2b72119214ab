"""Secrets by name: an environment variable, else the system's keyring, else a file its owner alone can read.

The file also holds the names of what the keyring keeps: a keyring can't be asked for them.
Nothing here shows a value: not a repr, not an error, not a list.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from thinkube.model.errors import ConfigurationError, SecretNotFound, UsageError
from thinkube.model.private import write_private
from thinkube.model.settings import home
from thinkube.services import keyrings

VERSION = 1

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SecretName:
    """One secret, without its value.

    Attributes:
        name: as in `tk.secret(name)`.
        source: where its value comes from, in words.
    """

    name: str
    source: str


def secret(name: str) -> str:
    """The value of a secret: the environment variable of that name, else what `thinkube secret set` stored.

    A deployed agent gets the secrets that its code asks for by name.

    Args:
        name: an environment variable's name, such as `TAVILY_API_KEY`.

    Raises:
        SecretNotFound: it is in neither place.
        UsageError: that can't be a secret's name.
        ConfigurationError: the file of stored secrets can't be used.

    Example:
        search = TavilySearch(tavily_api_key=tk.secret("TAVILY_API_KEY"))
    """
    value = known(checked(name))
    if value is None:
        raise SecretNotFound(
            f"There is no secret {name}: no environment variable has that name, {_path()} knows of none.",
            f"Store it with `thinkube secret set {name}`.",
        )
    return value


def known(name: str) -> str | None:
    """The value of a secret, or None."""
    if value := os.environ.get(name):
        return value
    file = _read()
    return keyrings.get(name) if name in file.in_keyring else file.values.get(name)


def stored() -> tuple[SecretName, ...]:
    """The stored secrets' names; a variable of the same name wins over a stored value."""
    file = _read()
    ring = keyrings.backend() if file.in_keyring else None

    def source(name: str) -> str:
        if os.environ.get(name):
            return f"the environment variable {name}"
        if name not in file.in_keyring:
            return str(_path())
        return keyrings.title(ring) if ring else "a keyring that is not there any more"

    return tuple(SecretName(name, source(name)) for name in sorted({*file.values, *file.in_keyring}))


def store(name: str, value: str) -> str:
    """Keep a secret on this machine: in the system's keyring if there is one, else in the file.

    Returns:
        Where it is kept, in words.

    Raises:
        UsageError: that can't be a secret's name, or there is no value.
        ConfigurationError: the keyring is locked, or the file can't be used.
    """
    if not value or "\0" in value:
        raise UsageError(f"There is no value for {checked(name)}.", "Type it, or give it on standard input.")
    checked(name)
    with _exclusive():
        file = _read()
        others = {each: kept for each, kept in file.values.items() if each != name}
        if (ring := keyrings.backend()) is not None:
            keyrings.put(ring, name, value)
            _write(_File(others, file.in_keyring | {name}))
            return keyrings.title(ring)
        _write(_File({**others, name: value}, file.in_keyring - {name}))
        return str(_path())


def delete(name: str) -> None:
    """Forget a stored secret.

    Raises:
        SecretNotFound: none of that name is stored.
        ConfigurationError: the keyring is locked, or the file can't be used.
    """
    with _exclusive():
        file = _read()
        if name not in file.values and name not in file.in_keyring:
            raise SecretNotFound(
                f"No secret {name} is stored.", "`thinkube secret list` shows those that are."
            )
        if name in file.in_keyring:
            keyrings.remove(name)
        left = {each: kept for each, kept in file.values.items() if each != name}
        _write(_File(left, file.in_keyring - {name}))


def checked(name: str) -> str:
    """A name that an environment variable may have.

    Raises:
        UsageError: it isn't one. It is not repeated, since it may well be a value.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "A secret's name is an environment variable's: letters, digits and underscores.",
            "Name it like TAVILY_API_KEY; the value is asked for.",
        )
    return name


@dataclass(frozen=True)
class _File:
    """What the file holds: values, and names of values that the keyring keeps."""

    values: dict[str, str] = field(repr=False)
    in_keyring: frozenset[str] = frozenset()


def _path() -> Path:
    return home() / "secrets.json"


@contextmanager
def _exclusive() -> Iterator[None]:
    """Two changes at once: one after the other."""
    folder = _path().parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".secrets.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: _File) -> None:
    document = {"version": VERSION, "secrets": file.values, "keyring": sorted(file.in_keyring)}
    write_private(_path(), json.dumps(document, indent=2) + "\n")


def _read() -> _File:
    path = _path()
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigurationError(
                    f"{path} holds secrets and others than its owner can read it.",
                    f"Run `chmod 600 {path}`, and replace the secrets if someone else uses this machine.",
                )
            text = file.read()
    except FileNotFoundError:
        return _File({})
    return _parse(path, text)


def _parse(path: Path, text: str) -> _File:
    try:
        document = json.loads(text)
        version, secrets, in_keyring = document["version"], document["secrets"], document.get("keyring", [])
        valid = isinstance(secrets, dict) and all(
            isinstance(text, str) for text in (*secrets.values(), *in_keyring)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        version, secrets, in_keyring, valid = VERSION, {}, [], False
    if version != VERSION:
        raise ConfigurationError(
            f"{path} has version {version}; this Thinkube reads version {VERSION}.",
            "Use the version of thinkube-sdk that wrote it, or delete it and set the secrets again.",
        )
    if not valid:
        # What json says of the place would repeat a part of the content.
        raise ConfigurationError(
            f"{path} can't be read as the file of secrets.",
            "Delete it and set the secrets again with `thinkube secret set`.",
        )
    return _File(dict(secrets), frozenset(in_keyring))
