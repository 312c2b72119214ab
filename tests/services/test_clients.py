"""Each client, used against the real service."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
import uuid

import pytest

import thinkube as tk
from thinkube.services.discovery import find

pytestmark = pytest.mark.usefixtures("stack")

# all-MiniLM-L6-v2 in full precision, from its model card's example.
REFERENCE = [0.0676569, 0.0634959, 0.0487131, 0.0793049, 0.0374480, 0.0026528]


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_llm_answers():
    answer = tk.llm(temperature=0, max_tokens=12).invoke("What is a socket?")
    assert "socket" in str(answer.content).lower()
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] <= 12


def test_llm_streams():
    pieces = [str(chunk.content) for chunk in tk.llm(temperature=0, max_tokens=12).stream("Count to five.")]
    assert len([piece for piece in pieces if piece]) > 1


def test_crew_llm_answers_in_a_crew():
    from crewai import Agent

    llm = tk.crew_llm(temperature=0, max_tokens=12)
    assert "socket" in str(llm.call("What is a socket?")).lower()
    agent = Agent(role="teacher", goal="explain", backstory="patient", llm=llm, max_iter=1)
    assert agent.llm is llm


def test_a_model_of_a_provider_is_asked_of_the_gateway():
    with pytest.raises(Exception, match="anthropic/claude") as caught:
        tk.crew_llm("anthropic/claude-sonnet-4-5", max_tokens=5).call("hello")
    assert "/v1/chat/completions" in str(caught.value) or "model=anthropic" in str(caught.value)


def test_openai_lists_and_answers():
    client = tk.openai()
    models = {model.id for model in client.models.list()}
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2"} <= models
    answer = client.chat.completions.create(
        model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens <= 8


def test_embeddings_are_the_models_own():
    vector = tk.embeddings().embed_query("This is an example sentence")
    assert len(vector) == 384
    assert math.isclose(cosine(vector, vector), 1.0, abs_tol=1e-5)
    # int8 weights move each number a little
    assert vector[: len(REFERENCE)] == pytest.approx(REFERENCE, abs=0.006)


def test_embeddings_keep_the_order_of_texts():
    texts = ["a socket", "bread and butter with jam for breakfast, every morning", "sockets"] * 15
    together = tk.embeddings().embed_documents(texts)
    alone = tk.embeddings().embed_query(texts[1])
    assert cosine(together[1], alone) > 0.99
    assert cosine(together[0], together[2]) > 0.7 > cosine(together[0], together[1])


def test_embeddings_through_openai_come_packed():
    answer = tk.openai().embeddings.create(model="all-minilm-l6-v2", input=["one", "two"])
    assert [len(entry.embedding) for entry in answer.data] == [384, 384]
    assert answer.usage.prompt_tokens == 6


def test_mlflow_keeps_a_run_and_its_file():
    mlflow = tk.mlflow()
    experiment = mlflow.set_experiment(f"test-{uuid.uuid4().hex[:8]}")
    try:
        with mlflow.start_run() as run:
            mlflow.log_metric("hits", 3)
            mlflow.log_text("content", "notes.txt")
        assert mlflow.get_run(run.info.run_id).data.metrics == {"hits": 3}
        assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes.txt") == "content"
        assert experiment.experiment_id == run.info.experiment_id
    finally:
        mlflow.set_experiment("Default")
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


def test_mlflow_works_in_a_child_process_without_a_secret_in_its_environment():
    tk.mlflow()
    secret = find("mlflow").credential
    assert secret
    assert secret.secret not in "".join(os.environ.values())
    code = "import mlflow; print(len(mlflow.search_experiments()))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert int(child.stdout) >= 1, child.stderr


def test_mlflows_credential_goes_to_no_other_server():
    tk.mlflow()
    from requests import Request

    from thinkube.services.mlflow_auth import AuthProvider

    endpoint = find("mlflow")
    own = AuthProvider().get_auth()(Request("GET", f"{endpoint.url}/api").prepare())
    other = AuthProvider().get_auth()(Request("GET", "http://127.0.0.1:1/api").prepare())
    assert "Authorization" in own.headers
    assert "Authorization" not in other.headers


def test_qdrant_finds_the_nearest():
    from qdrant_client import models

    client = tk.qdrant()
    name = f"test-{uuid.uuid4().hex[:8]}"
    client.create_collection(
        name, vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE)
    )
    try:
        points = [models.PointStruct(id=n, vector=[n, 1.0], payload={"n": n}) for n in range(5)]
        client.upsert(name, points)
        (hit,) = client.query_points(name, query=[4.0, 1.0], limit=1).points
        assert (hit.id, hit.payload) == (4, {"n": 4})
    finally:
        client.delete_collection(name)
    assert not client.collection_exists(name)


def test_nats_delivers_and_keeps():
    subject = f"test.{uuid.uuid4().hex[:8]}"

    async def round_trip() -> tuple[bytes, bytes]:
        connection = await tk.nats()
        try:
            live = await connection.subscribe(subject)
            stream = connection.jetstream()
            await stream.add_stream(name=subject.replace(".", "-"), subjects=[subject])
            await stream.publish(subject, b"42")
            received = await live.next_msg(timeout=5)
            stored = await stream.get_msg(subject.replace(".", "-"), seq=1)
            await stream.delete_stream(subject.replace(".", "-"))
            return received.data, stored.data or b""
        finally:
            await connection.close()

    assert asyncio.run(round_trip()) == (b"42", b"42")


def test_every_port_listens_on_loopback_alone():
    import psutil

    from thinkube.services import state

    current = state.read()
    assert current
    running = [service for service in current.services.values() if service.pid]
    assert len(running) >= 6
    for service in running:
        family = [psutil.Process(service.pid), *psutil.Process(service.pid).children(recursive=True)]
        addresses = {
            connection.laddr.ip
            for process in family
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}, service.name


def test_a_client_asks_nothing_of_the_network(monkeypatch: pytest.MonkeyPatch):
    """Embedding texts must not fetch a vocabulary: every connection goes to this machine."""
    reached: list[object] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: object) -> None:
        reached.append(address)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", watched)
    tk.embeddings().embed_documents(["one", "two"])
    assert reached
    assert all(isinstance(address, tuple) and address[0] == "127.0.0.1" for address in reached)


def test_asynchronous_clients():
    async def use() -> tuple[str | None, bool]:
        language, vectors = tk.openai(asynchronous=True), tk.qdrant(asynchronous=True)
        answer = await language.chat.completions.create(
            model="smollm2-135m-instruct", messages=[{"role": "user", "content": "Say hello."}], max_tokens=4
        )
        return answer.choices[0].message.content, await vectors.collection_exists("missing")

    text, exists = asyncio.run(use())
    assert text
    assert not exists


@pytest.mark.usefixtures("stack")
def test_a_proxy_is_not_asked_for_services_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org")
    assert tk.openai().models.list().data
    assert tk.mlflow().search_experiments()
    assert tk.qdrant().get_collections() is not None
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"
