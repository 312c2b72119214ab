"""A client's library, or the error that says how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from thinkube.model.errors import ClientMissing
from thinkube.services.table import CLIENTS


def load(client: str, module: str) -> Any:
    """Import the library of a client.

    Raises:
        ClientMissing: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        # Something missing inside an installed library is its own trouble, and shown as such.
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        entry = CLIENTS[client]
        raise ClientMissing(
            f"tk.{client}() needs {' and '.join(entry.distributions)}, which this Python doesn't have.",
            f"Install it: pip install 'thinkube-sdk[{entry.extra}]'",
        ) from error
