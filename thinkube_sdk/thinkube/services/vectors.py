"""Vectors in Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

from thinkube.model.endpoint import Credential
from thinkube.services.connecting import connected

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient, QdrantClient


@overload
def qdrant(
    *,
    asynchronous: Literal[False] = False,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> QdrantClient: ...


@overload
def qdrant(
    *,
    asynchronous: Literal[True],
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> AsyncQdrantClient: ...


def qdrant(
    *,
    asynchronous: bool = False,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> QdrantClient | AsyncQdrantClient:
    """A Qdrant client.

    Args:
        asynchronous: give `qdrant_client.AsyncQdrantClient` instead of `qdrant_client.QdrantClient`.
        url: where the service is, if it should not be looked for.
        credential: its API key, together with `url`.
        options: passed on to `qdrant_client.QdrantClient`, such as `timeout=30`.

    Raises:
        ServiceNotFound: no Qdrant is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the key.
        ClientMissing: `qdrant-client` is not installed.

    Example:
        [collection.name for collection in tk.qdrant().get_collections().collections]
    """
    endpoint, library = connected("qdrant", "qdrant_client", url, credential)
    parts = urlsplit(endpoint.url)
    # The client takes 6333 where a URL names no port, and warns about a key without TLS: loopback is fine.
    kind = library.AsyncQdrantClient if asynchronous else library.QdrantClient
    client: QdrantClient | AsyncQdrantClient = kind(
        host=parts.hostname,
        port=parts.port or (443 if parts.scheme == "https" else 6333),
        https=parts.scheme == "https",
        prefix=parts.path.strip("/") or None,
        api_key=None,
        metadata={"api-key": endpoint.credential.secret} if endpoint.credential else None,
        **{"check_compatibility": False, **options},
    )
    return client
