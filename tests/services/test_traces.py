"""Spans of the Langfuse SDK become an MLflow trace with everything in it."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import thinkube as tk
from thinkube.services import spool, tracing
from thinkube.services.discovery import find
from thinkube.services.tracing import connect


def traces_of(experiment: str, **query: Any) -> list[Any]:
    mlflow = tk.mlflow()
    found = mlflow.get_experiment_by_name(experiment)
    if found is None:
        return []
    return list(mlflow.search_traces(locations=[found.experiment_id], return_type="list", **query))


@pytest.mark.usefixtures("stack")
def test_a_nested_trace_is_read_back_with_inputs_outputs_model_and_tokens():
    from langfuse import propagate_attributes

    experiment = f"traces-{uuid.uuid4().hex[:8]}"
    langfuse = tk.langfuse(experiment=experiment)
    with (
        propagate_attributes(
            trace_name="docs-agent",
            session_id="session-1",
            user_id="ada",
            tags=["v3"],
            metadata={"release": "docs-agent@3"},
        ),
        langfuse.start_as_current_observation(
            name="answer", as_type="agent", input="What is a socket?"
        ) as span,
    ):
        with langfuse.start_as_current_observation(name="search", as_type="retriever", input="socket") as hit:
            hit.update(output=["socket(2)"])
        answer = tk.llm(temperature=0, max_tokens=8).invoke(
            "What is a socket?", config={"callbacks": [tracing.handler(langfuse)]}
        )
        span.update(output=answer.content)
    langfuse.flush()

    (trace,) = traces_of(experiment)
    assert trace.info.state == "OK"
    assert trace.info.tags["mlflow.traceName"] == "docs-agent"
    assert trace.info.tags["v3"] == "true"
    assert trace.info.tags["release"] == "docs-agent@3"
    assert trace.info.trace_metadata["mlflow.trace.user"] == "ada"
    assert trace.info.trace_metadata["mlflow.trace.session"] == "session-1"
    spans = {span.name: span for span in trace.data.spans}
    root, search, model = spans["answer"], spans["search"], spans["ChatOpenAI"]
    assert (root.parent_id, search.parent_id, model.parent_id) == (None, root.span_id, root.span_id)
    assert (root.span_type, search.span_type, model.span_type) == ("AGENT", "RETRIEVER", "LLM")
    assert (root.inputs, root.outputs) == ("What is a socket?", answer.content)
    assert (search.inputs, search.outputs) == ("socket", ["socket(2)"])
    assert model.inputs == [{"role": "user", "content": "What is a socket?"}]
    assert model.outputs["content"] == answer.content
    assert model.attributes["mlflow.llm.model"] == "smollm2-135m-instruct"
    assert answer.usage_metadata
    expected = {
        key: answer.usage_metadata[key]  # type: ignore[literal-required]
        for key in ("input_tokens", "output_tokens", "total_tokens")
    }
    assert model.attributes["mlflow.chat.tokenUsage"] == expected
    assert trace.info.token_usage == expected


@pytest.mark.usefixtures("stack")
def test_an_error_is_an_error_in_the_trace():
    experiment = f"traces-{uuid.uuid4().hex[:8]}"
    langfuse = tk.langfuse(experiment=experiment)
    with (
        pytest.raises(ZeroDivisionError),
        langfuse.start_as_current_observation(name="fails", input=1),
    ):
        _ = 1 / 0
    langfuse.flush()
    (trace,) = traces_of(experiment)
    assert trace.info.state == "ERROR"


@pytest.mark.usefixtures("stack")
def test_traces_go_to_the_active_experiment(monkeypatch: pytest.MonkeyPatch):
    experiment = f"traces-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    langfuse = tk.langfuse()
    with langfuse.start_as_current_observation(name="step", input=1):
        pass
    langfuse.flush()
    assert len(traces_of(experiment)) == 1


@pytest.mark.usefixtures("stack")
def test_spans_arrive_without_a_flush(eventually: Callable[..., None]):
    experiment = f"traces-{uuid.uuid4().hex[:8]}"
    langfuse = tk.langfuse(experiment=experiment)
    with langfuse.start_as_current_observation(name="step", input=1):
        pass
    eventually(lambda: traces_of(experiment))


@pytest.mark.usefixtures("empty_home")
def test_a_backend_that_is_away_holds_nothing_up(unused_port: int):
    endpoint = find("langfuse", f"http://pk:sk@127.0.0.1:{unused_port}")
    for backend in ("langfuse", "mlflow"):
        began = time.monotonic()
        langfuse = connect(replace(endpoint, backend=backend))
        for _ in range(50):
            with langfuse.start_as_current_observation(name="step", input=1):
                pass
        assert time.monotonic() - began < 3, "importing and tracing waited for the backend"
        langfuse.shutdown()
        assert time.monotonic() - began < 15, "shutting down waited too long"


@pytest.mark.usefixtures("stack")
def test_traces_made_while_the_backend_is_away_arrive_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The backend goes away behind a relay that is closed and opened again on the same port."""
    own = find("langfuse")
    with closing(Relay(own.url)) as relay:
        experiment = f"traces-{uuid.uuid4().hex[:8]}"
        monkeypatch.setenv("THINKUBE_HOME", str(tmp_path))
        langfuse = connect(replace(own, url=relay.url), experiment=experiment)
        began = time.monotonic()
        for number in range(3):
            with langfuse.start_as_current_observation(name=f"away-{number}", input=number):
                pass
            langfuse.flush()
        assert time.monotonic() - began < 2
        kept = list(spool.spool().glob("*.otlp"))
        assert len(kept) == 3
        assert own.credential
        assert not [path for path in kept if own.credential.secret.encode() in path.read_bytes()]
        relay.open()
        with langfuse.start_as_current_observation(name="back", input=3):
            pass
        langfuse.flush()
        monkeypatch.undo()
        assert {trace.data.spans[0].name for trace in traces_of(experiment)} == {
            *("away-0", "away-1", "away-2", "back")
        }
        assert not list((tmp_path / "spool" / "traces").iterdir())


@pytest.mark.usefixtures("empty_home")
def test_the_spool_has_a_bound(monkeypatch: pytest.MonkeyPatch, unused_port: int):
    monkeypatch.setattr(spool, "BOUND_BYTES", 20_000)
    langfuse = connect(replace(find("langfuse", f"http://127.0.0.1:{unused_port}"), backend="mlflow"))
    for _ in range(10):
        with langfuse.start_as_current_observation(name="step", input="x" * 5_000):
            pass
        langfuse.flush()
    sizes = [path.stat().st_size for path in spool.spool().glob("*.otlp")]
    assert 5_000 < sum(sizes) < 21_000


class Relay:
    """Passes connections on to a service once it is opened."""

    def __init__(self, target: str) -> None:
        self._target = int(target.rpartition(":")[2])
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self._port = int(trial.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: socket.socket | None = None

    def open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
