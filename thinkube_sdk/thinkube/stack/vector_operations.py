"""Qdrant's REST operations, each mapped to one call of qdrant-client's local engine.

Bodies are parsed by qdrant-client's own models, so what the engine gets is what the client meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from qdrant_client import QdrantClient, models

Call = Callable[[QdrantClient, str, Any], Any]


@dataclass(frozen=True)
class Operation:
    """One REST operation.

    Attributes:
        method: of the request.
        path: with `{name}` for the collection.
        body: the model its body is parsed with, or None for an operation without one.
        call: gives its result, from the engine, the collection and the parsed body.
        changes: whether it creates or removes a collection.
        settings: what it does with what the engine doesn't keep (`vector_settings`).
    """

    method: str
    path: str
    body: type[BaseModel] | None
    call: Call
    changes: bool = False
    settings: Literal["", "created", "dropped", "indexed", "unindexed", "told"] = ""


class NotThere(Exception):
    """What the request names does not exist."""


def _selector(body: Any) -> Any:
    """Which points a payload or vector operation is about."""
    if body.points is not None:
        return body.points
    if body.filter is None:
        raise ValueError("Neither `points` nor `filter` says which points are meant")
    return body.filter


def _create(engine: QdrantClient, name: str, body: models.CreateCollection) -> bool:
    if engine.collection_exists(name):
        raise FileExistsError(f"Collection `{name}` already exists!")
    return engine.create_collection(
        name,
        vectors_config=body.vectors,
        sparse_vectors_config=body.sparse_vectors,
        metadata=body.metadata,
    )


def _upsert(engine: QdrantClient, name: str, body: Any) -> Any:
    points = body.batch if isinstance(body, models.PointsBatch) else body.points
    return engine.upsert(name, points, update_filter=body.update_filter, update_mode=body.update_mode)


def _delete(engine: QdrantClient, name: str, body: Any) -> Any:
    return engine.delete(name, body)


def _retrieve(engine: QdrantClient, name: str, body: models.PointRequest) -> Any:
    return engine.retrieve(
        name,
        body.ids,
        with_payload=True if body.with_payload is None else body.with_payload,
        with_vectors=body.with_vector or False,
    )


def _query(engine: QdrantClient, name: str, body: models.QueryRequest) -> Any:
    return engine.query_points(
        name,
        query=body.query,
        using=body.using,
        prefetch=body.prefetch,
        query_filter=body.filter,
        search_params=body.params,
        limit=body.limit or 10,
        offset=body.offset,
        with_payload=body.with_payload or False,
        with_vectors=body.with_vector or False,
        score_threshold=body.score_threshold,
        lookup_from=body.lookup_from,
    )


def _query_batch(engine: QdrantClient, name: str, body: models.QueryRequestBatch) -> Any:
    return [_query(engine, name, search) for search in body.searches]


def _query_groups(engine: QdrantClient, name: str, body: models.QueryGroupsRequest) -> Any:
    return engine.query_points_groups(
        name,
        group_by=body.group_by,
        query=body.query,
        using=body.using,
        prefetch=body.prefetch,
        query_filter=body.filter,
        search_params=body.params,
        limit=body.limit or 10,
        group_size=body.group_size or 3,
        with_payload=body.with_payload or False,
        with_vectors=body.with_vector or False,
        score_threshold=body.score_threshold,
        with_lookup=body.with_lookup,
        lookup_from=body.lookup_from,
    )


def _scroll(engine: QdrantClient, name: str, body: models.ScrollRequest) -> models.ScrollResult:
    points, after = engine.scroll(
        name,
        scroll_filter=body.filter,
        limit=body.limit or 10,
        order_by=body.order_by,
        offset=body.offset,
        with_payload=True if body.with_payload is None else body.with_payload,
        with_vectors=body.with_vector or False,
    )
    return models.ScrollResult(points=points, next_page_offset=after)


def _count(engine: QdrantClient, name: str, body: models.CountRequest) -> Any:
    return engine.count(name, count_filter=body.filter)


def _facet(engine: QdrantClient, name: str, body: models.FacetRequest) -> Any:
    return engine.facet(
        name, key=body.key, facet_filter=body.filter, limit=body.limit or 10, exact=body.exact or False
    )


def _info(engine: QdrantClient, name: str, _: None) -> models.CollectionInfo:
    return engine.get_collection(name)


def _drop(engine: QdrantClient, name: str, _: None) -> bool:
    return engine.delete_collection(name)


def _change(engine: QdrantClient, name: str, body: models.UpdateCollection) -> bool:
    return engine.update_collection(
        name,
        sparse_vectors_config=body.sparse_vectors,
        metadata=body.metadata,
        vectors_config=body.vectors,
    )


def _set_payload(engine: QdrantClient, name: str, body: models.SetPayload) -> Any:
    return engine.set_payload(name, body.payload, _selector(body), key=body.key)


def _overwrite_payload(engine: QdrantClient, name: str, body: models.SetPayload) -> Any:
    return engine.overwrite_payload(name, body.payload, _selector(body))


def _delete_payload(engine: QdrantClient, name: str, body: models.DeletePayload) -> Any:
    return engine.delete_payload(name, body.keys, _selector(body))


def _clear_payload(engine: QdrantClient, name: str, body: Any) -> Any:
    return engine.clear_payload(name, body)


def _update_vectors(engine: QdrantClient, name: str, body: models.UpdateVectors) -> Any:
    return engine.update_vectors(name, body.points, update_filter=body.update_filter)


def _delete_vectors(engine: QdrantClient, name: str, body: models.DeleteVectors) -> Any:
    return engine.delete_vectors(name, body.vector, _selector(body))


def _batch(engine: QdrantClient, name: str, body: models.UpdateOperations) -> Any:
    return engine.batch_update_points(name, body.operations)


def _index(engine: QdrantClient, name: str, body: models.CreateFieldIndex) -> Any:
    engine.get_collection(name)  # or it is said that there is none
    return engine.create_payload_index(name, body.field_name, field_schema=body.field_schema)


def _unindex(engine: QdrantClient, name: str, _: None) -> Any:
    engine.get_collection(name)  # or it is said that there is none
    return models.UpdateResult(status=models.UpdateStatus.COMPLETED, operation_id=0)


def _aliases(engine: QdrantClient, _: str, body: models.ChangeAliasesOperation) -> bool:
    return engine.update_collection_aliases(body.actions)


class _Points(BaseModel):
    """Either form in which points come."""

    root: models.PointsBatch | models.PointsList


class _Selector(BaseModel):
    """Points by their ids, or by a filter."""

    root: models.PointIdsList | models.FilterSelector


OPERATIONS = (
    Operation("GET", "/collections", None, lambda engine, _, __: engine.get_collections()),
    Operation("PUT", "/collections/{name}", models.CreateCollection, _create, True, "created"),
    Operation("GET", "/collections/{name}", None, _info, settings="told"),
    Operation("PATCH", "/collections/{name}", models.UpdateCollection, _change),
    Operation("DELETE", "/collections/{name}", None, _drop, True, "dropped"),
    Operation(
        "GET",
        "/collections/{name}/exists",
        None,
        lambda engine, name, _: models.CollectionExistence(exists=engine.collection_exists(name)),
    ),
    Operation(
        "GET",
        "/collections/{name}/aliases",
        None,
        lambda engine, name, _: engine.get_collection_aliases(name),
    ),
    Operation("GET", "/aliases", None, lambda engine, _, __: engine.get_aliases()),
    Operation("POST", "/collections/aliases", models.ChangeAliasesOperation, _aliases),
    Operation("PUT", "/collections/{name}/points", _Points, _upsert),
    Operation("POST", "/collections/{name}/points", models.PointRequest, _retrieve),
    Operation("POST", "/collections/{name}/points/delete", _Selector, _delete),
    Operation("POST", "/collections/{name}/points/query", models.QueryRequest, _query),
    Operation("POST", "/collections/{name}/points/query/batch", models.QueryRequestBatch, _query_batch),
    Operation("POST", "/collections/{name}/points/query/groups", models.QueryGroupsRequest, _query_groups),
    Operation("POST", "/collections/{name}/points/scroll", models.ScrollRequest, _scroll),
    Operation("POST", "/collections/{name}/points/count", models.CountRequest, _count),
    Operation("POST", "/collections/{name}/facet", models.FacetRequest, _facet),
    Operation("POST", "/collections/{name}/points/payload", models.SetPayload, _set_payload),
    Operation("PUT", "/collections/{name}/points/payload", models.SetPayload, _overwrite_payload),
    Operation("POST", "/collections/{name}/points/payload/delete", models.DeletePayload, _delete_payload),
    Operation("POST", "/collections/{name}/points/payload/clear", _Selector, _clear_payload),
    Operation("PUT", "/collections/{name}/points/vectors", models.UpdateVectors, _update_vectors),
    Operation("POST", "/collections/{name}/points/vectors/delete", models.DeleteVectors, _delete_vectors),
    Operation("POST", "/collections/{name}/points/batch", models.UpdateOperations, _batch),
    Operation("PUT", "/collections/{name}/index", models.CreateFieldIndex, _index, settings="indexed"),
    Operation("DELETE", "/collections/{name}/index/{field}", None, _unindex, settings="unindexed"),
)


def parse(operation: Operation, content: bytes) -> Any:
    """An operation's body.

    Raises:
        pydantic.ValidationError: it is not what the operation takes.
    """
    if operation.body is None:
        return None
    if operation.body in (_Points, _Selector):
        return operation.body.model_validate_json(b'{"root": ' + content + b"}").root
    return operation.body.model_validate_json(content)
