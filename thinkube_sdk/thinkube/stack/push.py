"""Copy a collection of the local stack's Qdrant to another Qdrant, such as a cluster's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thinkube.model.errors import ServiceUnreachable, StackError, UsageError
from thinkube.services import state
from thinkube.services.vectors import qdrant

if TYPE_CHECKING:
    from qdrant_client import QdrantClient


def push(
    collection: str,
    to: str,
    *,
    key: str | None = None,
    replace: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Copy a collection: its parameters, and every point with vectors and payload.

    Args:
        to: URL of the other Qdrant.
        key: its API key.
        replace: delete a collection of the same name there first.

    Returns:
        The number of points there now.

    Raises:
        UsageError: there is no such collection here, or there is one there already.
        ServiceUnreachable, CredentialRejected: the other Qdrant can't be used.
        StackError: the stack runs no Qdrant, or the copy did not succeed.

    Example:
        push("docs", "https://qdrant.example.org", key=tk.secret("QDRANT_KEY"))
    """
    from qdrant_client.http.exceptions import ApiException

    source, target = _local(), qdrant(url=to, credential=key)
    try:
        _check(collection, source, target, to, replace)
        progress(f"copying {source.count(collection).count} points of {collection} to {to}")
        source.migrate(target, [collection], recreate_on_collision=replace)
        return target.count(collection).count
    except ApiException as error:
        raise StackError(
            f"{collection} was not copied to {to}: {error}",
            "What arrived is incomplete; copy again with --replace.",
        ) from error
    except AssertionError as error:
        raise StackError(
            f"{collection} was written to while it was copied: {error}", "Copy again with --replace."
        ) from error


def _local() -> QdrantClient:
    current = state.read() if state.supervised() else None
    local = current.services.get("qdrant") if current else None
    if local is None or local.stage == "stopped":
        raise StackError("The stack runs no Qdrant.", "Start it with `thinkube up --only qdrant`.")
    if local.stage != "ready":
        raise ServiceUnreachable(f"The stack's Qdrant is {local.stage}.", "Wait for it with `thinkube up`.")
    return qdrant(url=local.url, credential=local.secret)


def _check(collection: str, source: QdrantClient, target: QdrantClient, to: str, replace: bool) -> None:
    known = sorted(each.name for each in source.get_collections().collections)
    if collection not in known:
        raise UsageError(
            f"The local stack has no collection {collection!r}.", f"It has: {', '.join(known) or 'none'}."
        )
    if not replace and target.collection_exists(collection):
        raise UsageError(
            f"{to} has a collection {collection!r} already.", "Replace it with --replace, or delete it there."
        )
