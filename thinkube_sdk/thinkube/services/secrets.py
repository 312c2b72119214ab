"""Secrets by name: an environment variable, else a file that its owner alone can read.

Nothing here shows a value: not a repr, not an error, not a list.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thinkube.model.errors import ConfigurationError, SecretNotFound, UsageError
from thinkube.model.settings import home
from thinkube.services.state import write_private

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
            f"There is no secret {name}: no environment variable has that name, {_path()} doesn't hold it.",
            f"Store it with `thinkube secret set {name}`.",
        )
    return value


def known(name: str) -> str | None:
    """The value of a secret, or None."""
    if value := os.environ.get(name):
        return value
    return _read().get(name)


def stored() -> tuple[SecretName, ...]:
    """The stored secrets' names; a variable of the same name wins over a stored value."""
    return tuple(
        SecretName(name, f"the environment variable {name}" if os.environ.get(name) else str(_path()))
        for name in sorted(_read())
    )


def store(name: str, value: str) -> None:
    """Keep a secret on this machine.

    Raises:
        UsageError: that can't be a secret's name, or there is no value.
    """
    if not value or "\0" in value:
        raise UsageError(f"There is no value for {checked(name)}.", "Type it, or give it on standard input.")
    with _exclusive():
        _write({**_read(), checked(name): value})


def delete(name: str) -> None:
    """Forget a stored secret.

    Raises:
        SecretNotFound: none of that name is stored.
    """
    with _exclusive():
        left = _read()
        if left.pop(name, None) is None:
            raise SecretNotFound(
                f"No secret {name} is stored.", "`thinkube secret list` shows those that are."
            )
        _write(left)


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


def _write(secrets: dict[str, str]) -> None:
    write_private(_path(), json.dumps({"version": VERSION, "secrets": secrets}, indent=2) + "\n")


def _read() -> dict[str, str]:
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
        return {}
    return _parse(path, text)


def _parse(path: Path, text: str) -> dict[str, str]:
    try:
        document = json.loads(text)
        version, secrets = document["version"], document["secrets"]
        valid = isinstance(secrets, dict) and all(isinstance(value, str) for value in secrets.values())
    except (ValueError, KeyError, TypeError):
        version, secrets, valid = VERSION, {}, False
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
    return dict(secrets)
