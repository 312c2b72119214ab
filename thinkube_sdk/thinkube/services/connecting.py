"""How every client begins: find the service, have the library, make sure that the service answers."""

from __future__ import annotations

from typing import Any

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.services.discovery import find
from thinkube.services.installed import load
from thinkube.services.probe import verify
from thinkube.services.table import CLIENTS


def connected(
    client: str, module: str, url: str | None, credential: Credential | str | None
) -> tuple[Endpoint, Any]:
    """Where a client's service is, and the client's library.

    Args:
        client: its name, as in `tk.<client>()`.
        module: the library's.
        url: where the service is, if it should not be looked for.
        credential: what it asks for, together with `url`.

    Raises:
        ServiceNotFound: no place names it.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the credential.
        ClientMissing: the library is not installed.
    """
    endpoint = find(CLIENTS[client].service, url, credential)
    library = load(client, module)
    verify(endpoint)
    return endpoint, library
