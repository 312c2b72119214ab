"""A collection copied from the local stack to another Qdrant."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

import thinkube as tk
from thinkube.errors import CredentialRejected, UsageError
from thinkube.model.endpoint import Credential, Endpoint
from thinkube.services.probe import probe
from thinkube.stack.push import push
from thinkube.targets.child import Child

KEY = "of-the-other"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    """The URL of a Qdrant that is not the stack's."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    place = Endpoint("qdrant", f"http://127.0.0.1:{port}", Credential(KEY), "the test", "qdrant")
    child = Child(
        [sys.executable, "-m", "thinkube.stack.vector_server", str(port), str(tmp_path / "other")],
        env=os.environ | {"THINKUBE_SERVICE_SECRET": KEY},
        log=tmp_path / "other.log",
        ready=lambda: probe(place).health == "up",
    )
    try:
        child.wait_ready()
        yield place.url
    finally:
        child.stop()


@pytest.fixture
def collection() -> Iterator[str]:
    """A collection of 250 points in the stack, with dense and sparse vectors."""
    client, name = tk.qdrant(), f"test-{uuid.uuid4().hex[:8]}"
    client.create_collection(
        name,
        vectors_config={"text": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    client.upsert(
        name,
        [
            models.PointStruct(
                id=n,
                vector={"text": [n, 1.0], "words": models.SparseVector(indices=[n], values=[0.5])},
                payload={"n": n, "at": {"page": str(n)}},
            )
            for n in range(250)
        ],
    )
    yield name
    client.delete_collection(name)


def everything(client: QdrantClient, name: str) -> list[models.Record]:
    points, rest = client.scroll(name, limit=1000, with_vectors=True)
    assert rest is None
    return points


@pytest.mark.usefixtures("stack")
def test_every_point_arrives_and_nothing_there_is_overwritten_unasked(other: str, collection: str):
    there, here = tk.qdrant(url=other, credential=KEY), tk.qdrant()
    assert push(collection, other, key=KEY) == 250
    assert everything(there, collection) == everything(here, collection)
    parameters = here.get_collection(collection).config.params
    assert there.get_collection(collection).config.params == parameters
    here.delete(collection, [1])
    with pytest.raises(UsageError, match="has a collection"):
        push(collection, other, key=KEY)
    assert there.count(collection).count == 250
    assert push(collection, other, key=KEY, replace=True) == 249


@pytest.mark.usefixtures("stack")
def test_what_can_not_be_copied_is_named(other: str, collection: str):
    with pytest.raises(UsageError, match="no collection 'missing'") as caught:
        push("missing", other, key=KEY)
    assert collection in caught.value.fix
    with pytest.raises(CredentialRejected):
        push(collection, other, key="another")
    with pytest.raises(UnexpectedResponse, match="thinkube vectors push"):
        tk.qdrant().create_snapshot(collection)


def test_the_command_copies(stack: object, other: str, collection: str):
    assert stack
    result = subprocess.run(
        [sys.executable, "-m", "thinkube", "vectors", "push", collection, "--to", other, "--secret", "OTHER"],
        env=os.environ | {"OTHER": KEY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == f"{collection} with 250 points is at {other}\n", result.stderr


@pytest.mark.usefixtures("stack")
def test_what_a_collection_was_told_arrives_too(other: str):
    client, name = tk.qdrant(), f"test-{uuid.uuid4().hex[:8]}"
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=24, payload_m=8),
        on_disk_payload=True,
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)
        ),
    )
    client.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name=name, alias_name=f"{name}-alias")
            )
        ]
    )
    try:
        client.create_payload_index(name, "color", models.PayloadSchemaType.KEYWORD)
        client.create_payload_index(name, "gone", models.PayloadSchemaType.INTEGER)
        client.create_payload_index(
            f"{name}-alias",
            "text",
            models.TextIndexParams(type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WORD),
        )
        client.delete_payload_index(name, "gone")
        client.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"color": "red"})])
        push(name, other, key=KEY)
        here = client.get_collection(name)
        there = QdrantClient(url=other, api_key=KEY, check_compatibility=False).get_collection(name)
    finally:
        client.delete_collection(name)
    for info in (here, there):
        assert {field: index.data_type for field, index in info.payload_schema.items()} == {
            "color": models.PayloadSchemaType.KEYWORD,
            "text": models.PayloadSchemaType.TEXT,
        }
        assert info.payload_schema["text"].params.tokenizer == models.TokenizerType.WORD
        assert (info.config.hnsw_config.m, info.config.hnsw_config.payload_m) == (24, 8)
        assert info.config.params.on_disk_payload
        assert info.config.quantization_config.scalar.type == models.ScalarType.INT8
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    assert client.get_collection(name).payload_schema == {}, "a new one of the same name begins anew"
    client.delete_collection(name)
