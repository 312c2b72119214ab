"""The local stack's Qdrant beside the engine used directly: the same calls, the same answers."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

import thinkube as tk

COLORS = ["red", "green", "blue"]
POINTS = [
    models.PointStruct(
        id=number,
        vector={
            "text": [float(number), 1.0, float(number % 3)],
            "image": [1.0, float(number)],
            "words": models.SparseVector(indices=[number, 100], values=[1.0, 0.5]),
        },
        payload={"n": number, "color": COLORS[number % 3], "place": {"city": f"c{number % 2}"}},
    )
    for number in range(1, 31)
]
NAMED = str(uuid.UUID(int=7))


def filtered(**match: Any) -> models.Filter:
    return models.Filter(
        must=[
            models.FieldCondition(key=key.replace("__", "."), match=models.MatchValue(value=value))
            for key, value in match.items()
        ]
    )


def nearest(client: QdrantClient, name: str, **more: Any) -> Any:
    return client.query_points(name, **{"query": [3.0, 1.0, 2.0], "using": "text", "limit": 5, **more})


Case = Callable[[QdrantClient, str], Any]

CASES: dict[str, Case] = {
    "nearest": nearest,
    "nearest with payload and vectors": lambda c, n: nearest(c, n, with_payload=True, with_vectors=["image"]),
    "nearest without payload": lambda c, n: nearest(c, n, with_payload=False),
    "nearest, one field of the payload": lambda c, n: nearest(c, n, with_payload=["n"]),
    "nearest, filtered": lambda c, n: nearest(c, n, query_filter=filtered(color="blue")),
    "nearest, filtered by a nested field": lambda c, n: nearest(
        c, n, query_filter=filtered(place__city="c1")
    ),
    "nearest, by range": lambda c, n: nearest(
        c,
        n,
        query_filter=models.Filter(
            must_not=[models.FieldCondition(key="n", range=models.Range(gte=4, lt=20))]
        ),
    ),
    "nearest, second page": lambda c, n: nearest(c, n, offset=5),
    "nearest, above a score": lambda c, n: nearest(c, n, score_threshold=0.9, limit=20),
    "nearest to a stored point": lambda c, n: nearest(c, n, query=4),
    "nearest, sparse": lambda c, n: nearest(
        c, n, query=models.SparseVector(indices=[3, 100], values=[1.0, 1.0]), using="words"
    ),
    "recommend": lambda c, n: nearest(
        c,
        n,
        query=models.RecommendQuery(recommend=models.RecommendInput(positive=[2, 3], negative=[9])),
    ),
    "hybrid, fused": lambda c, n: c.query_points(
        n,
        prefetch=[
            models.Prefetch(query=[3.0, 1.0, 2.0], using="text", limit=8),
            models.Prefetch(query=[1.0, 5.0], using="image", limit=8),
        ],
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        limit=6,
    ),
    "ordered by a field": lambda c, n: c.query_points(
        n,
        query=models.OrderByQuery(order_by=models.OrderBy(key="n", direction=models.Direction.DESC)),
        limit=4,
    ),
    "batch of queries": lambda c, n: c.query_batch_points(
        n,
        [
            models.QueryRequest(query=[3.0, 1.0, 2.0], using="text", limit=2),
            models.QueryRequest(query=[1.0, 1.0], using="image", limit=3, with_payload=True),
        ],
    ),
    "groups": lambda c, n: c.query_points_groups(
        n, group_by="color", query=[3.0, 1.0, 2.0], using="text", limit=3, group_size=2
    ),
    "scroll": lambda c, n: c.scroll(n, limit=7),
    "scroll on, with vectors": lambda c, n: c.scroll(n, limit=7, offset=8, with_vectors=True),
    "scroll, filtered and ordered": lambda c, n: c.scroll(
        n, scroll_filter=filtered(color="red"), order_by="n", limit=3
    ),
    "count": lambda c, n: c.count(n),
    "count, filtered": lambda c, n: c.count(n, count_filter=filtered(color="red")),
    "retrieve": lambda c, n: c.retrieve(n, [3, 5, 999], with_vectors=True),
    "facet": lambda c, n: c.facet(n, key="color"),
    "collection's parameters": lambda c, n: c.get_collection(n).config.params.vectors,
    "set payload": lambda c, n: (
        c.set_payload(n, {"seen": True}, points=[1, 2]),
        c.retrieve(n, [1, 2]),
    )[1],
    "set payload under a key, by filter": lambda c, n: (
        c.set_payload(n, {"zip": 1}, points=filtered(color="red"), key="place"),
        c.scroll(n, scroll_filter=filtered(place__zip=1)),
    )[1],
    "overwrite payload": lambda c, n: (c.overwrite_payload(n, {"only": 1}, points=[1]), c.retrieve(n, [1]))[
        1
    ],
    "delete payload": lambda c, n: (c.delete_payload(n, ["color"], points=[1]), c.retrieve(n, [1]))[1],
    "clear payload": lambda c, n: (c.clear_payload(n, points_selector=[1]), c.retrieve(n, [1]))[1],
    "update vectors": lambda c, n: (
        c.update_vectors(n, [models.PointVectors(id=1, vector={"image": [9.0, 9.0]})]),
        c.retrieve(n, [1], with_vectors=True),
    )[1],
    "delete vectors": lambda c, n: (
        c.delete_vectors(n, ["image"], points=[1]),
        c.retrieve(n, [1], with_vectors=True),
    )[1],
    "delete by id": lambda c, n: (c.delete(n, [1, 2, 3]), c.count(n))[1],
    "delete by filter": lambda c, n: (c.delete(n, filtered(color="red")), c.count(n))[1],
    "upsert replaces": lambda c, n: (
        c.upsert(n, [models.PointStruct(id=1, vector={"image": [0.0, 1.0]}, payload={"new": 1})]),
        c.retrieve(n, [1], with_vectors=True),
    )[1],
    "upsert as a batch, named by a UUID": lambda c, n: (
        c.upsert(n, models.Batch(ids=[NAMED], vectors={"image": [[0.5, 0.5]]}, payloads=[{"a": [1, None]}])),
        c.retrieve(n, [NAMED], with_vectors=True),
    )[1],
    "several updates at once": lambda c, n: (
        c.batch_update_points(
            n,
            [
                models.DeleteOperation(delete=models.PointIdsList(points=[1])),
                models.SetPayloadOperation(set_payload=models.SetPayload(payload={"b": 2}, points=[2])),
            ],
        ),
        c.retrieve(n, [1, 2]),
    )[1],
    "an alias": lambda c, n: (
        c.update_collection_aliases(
            [
                models.CreateAliasOperation(
                    create_alias=models.CreateAlias(collection_name=n, alias_name=f"{n}-alias")
                )
            ]
        ),
        c.count(f"{n}-alias"),
    )[1],
}


@pytest.fixture
def clients(tmp_path: Any) -> Iterator[tuple[QdrantClient, QdrantClient, str]]:
    """The stack's client and the engine itself, with one collection of the same points in each."""
    remote, engine = tk.qdrant(), QdrantClient(path=str(tmp_path / "engine"))
    name = f"test-{uuid.uuid4().hex[:8]}"
    for client in (remote, engine):
        client.create_collection(
            name,
            vectors_config={
                "text": models.VectorParams(size=3, distance=models.Distance.COSINE),
                "image": models.VectorParams(size=2, distance=models.Distance.EUCLID),
            },
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        client.upsert(name, POINTS)
    yield remote, engine, name
    remote.delete_collection(name)
    engine.close()


def plain(value: Any) -> Any:
    """Models as data, with numbers that may differ in the last digit."""
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(exclude_none=True))
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return round(float(value), 5) if isinstance(value, float) else value


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("case", CASES)
def test_the_answers_are_the_engines(case: str, clients: tuple[QdrantClient, QdrantClient, str]):
    remote, engine, name = clients
    expected = plain(CASES[case](engine, name))
    assert expected not in ([], {}, None)
    assert plain(CASES[case](remote, name)) == expected


@pytest.mark.usefixtures("stack")
def test_collections_are_listed_created_once_and_deleted():
    client = tk.qdrant()
    name = f"test-{uuid.uuid4().hex[:8]}"
    assert not client.collection_exists(name)
    parameters = models.VectorParams(size=2, distance=models.Distance.DOT)
    assert client.create_collection(name, vectors_config=parameters)
    assert name in [entry.name for entry in client.get_collections().collections]
    with pytest.raises(UnexpectedResponse, match="already exists") as caught:
        client.create_collection(name, vectors_config=parameters)
    assert caught.value.status_code == 409
    client.create_payload_index(name, "color", models.PayloadSchemaType.KEYWORD)
    assert client.get_collection(name).points_count == 0
    assert client.delete_collection(name)
    assert not client.collection_exists(name)


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        (lambda client: client.count("missing"), 404, "not found"),
        (lambda client: client.create_snapshot("missing"), 501, "POST /collections/missing/snapshots"),
        (lambda client: client.upsert("missing", [models.PointStruct(id=1, vector=[1.0])]), 404, "not found"),
    ],
)
def test_what_can_not_be_done_is_named(call: Callable[[QdrantClient], Any], status: int, message: str):
    with pytest.raises(UnexpectedResponse, match=message) as caught:
        call(tk.qdrant())
    assert caught.value.status_code == status


@pytest.mark.usefixtures("stack")
def test_a_vector_of_another_size_is_refused(clients: tuple[QdrantClient, QdrantClient, str]):
    remote, _, name = clients
    with pytest.raises(UnexpectedResponse) as caught:
        remote.upsert(name, [models.PointStruct(id=1, vector={"text": [1.0]})])
    assert caught.value.status_code == 400
    assert remote.count(name).count == len(POINTS)


@pytest.mark.usefixtures("stack")
def test_many_clients_write_at_once(clients: tuple[QdrantClient, QdrantClient, str]):
    _, _, name = clients

    def write(part: int) -> None:
        client = tk.qdrant()
        for number in range(10):
            client.upsert(
                name, [models.PointStruct(id=1000 + part * 10 + number, vector={"image": [1.0, float(part)]})]
            )

    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        list(pool.map(write, range(8)))
    assert tk.qdrant().count(name).count == len(POINTS) + 80
