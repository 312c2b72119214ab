"""The system's keyring (macOS Keychain, Secret Service, Windows' own), where there is one that works."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from thinkube.model.errors import ConfigurationError
from thinkube.model.settings import home

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend


def backend() -> KeyringBackend | None:
    """The keyring that would keep a secret; None without one, as on most servers."""
    if find_spec("keyring") is None:
        return None
    import keyring

    with _explained():
        found = keyring.get_keyring()
    # From 1 on a keyring is recommended by its makers. Others are files, in plain text some; those that
    # keep nothing have 0 or less.
    chosen = bool(os.environ.get("PYTHON_KEYRING_BACKEND"))
    return found if found.priority >= 1 or (chosen and found.priority > 0) else None


def title(ring: KeyringBackend) -> str:
    """As a person calls it."""
    return f"the keyring ({ring.name})"


def get(name: str) -> str | None:
    """The value of a secret that a keyring keeps; None when none does any more."""
    ring = backend()
    if ring is None:
        return None
    with _explained():
        return ring.get_password(_service(), name)


def put(ring: KeyringBackend, name: str, value: str) -> None:
    """Keep a secret."""
    with _explained():
        ring.set_password(_service(), name, value)


def remove(name: str) -> None:
    """Forget a secret; that it is gone already is as good."""
    from keyring.errors import PasswordDeleteError

    ring = backend()
    if ring is None:
        return
    with _explained():
        try:
            ring.delete_password(_service(), name)
        except PasswordDeleteError:
            if ring.get_password(_service(), name) is not None:
                raise


def _service() -> str:
    return f"thinkube {home()}"


@contextmanager
def _explained() -> Iterator[None]:
    from keyring.errors import KeyringError

    try:
        yield
    except (KeyringError, OSError) as error:
        raise ConfigurationError(
            f"The keyring of this machine can't be used: {type(error).__name__}: {error}.",
            "Unlock it. To do without, set PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring: secrets "
            "that are set then go to a file that you alone can read.",
        ) from error
