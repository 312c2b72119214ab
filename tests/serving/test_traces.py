"""Traces of served calls, in the real backend."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serving import agents
from tests.serving.conftest import Served, start

from thinkube.services.state import State

Eventually = Callable[..., None]


def traced(trace: str) -> Any:
    """The trace as MLflow has it, or None."""
    import thinkube as tk

    found = tk.mlflow().search_traces(locations=["0"], return_type="list")
    return next((each for each in found if trace in each.info.trace_id), None)


@pytest.fixture(scope="module")
def graph(stack: State, tmp_path_factory: pytest.TempPathFactory) -> Any:
    assert stack.services
    served = start(
        tmp_path_factory.mktemp("traced"), agents.GRAPH, env={"THINKUBE_HOME": os.environ["THINKUBE_HOME"]}
    )
    yield served
    served.client.close()
    served.child.stop(15)


def test_each_call_is_one_trace_named_after_the_deployment(graph: Served, eventually: Eventually) -> None:
    answer = graph.invoke({"question": "hi"}, session="talk 1", user="ada")
    trace = answer.headers["x-trace-id"]
    found: list[Any] = []
    eventually(lambda: found.append(traced(trace)) or found[-1] is not None)
    spans = {span.name: span for span in found[-1].data.spans}
    root = spans["trial"]
    assert root.parent_id is None
    assert root.inputs == {"question": "hi"}
    assert root.outputs == {"question": "hi", "answer": "HI"}
    assert "shout" in spans
    assert found[-1].info.trace_metadata["mlflow.trace.session"] == "talk 1"
    assert found[-1].info.trace_metadata["mlflow.trace.user"] == "ada"
    assert found[-1].info.tags["mlflow.traceName"] == "trial"


def test_streams_and_failures_are_traced(graph: Served, eventually: Eventually) -> None:
    streamed = graph.client.post("/stream", json={"input": "hello"}).headers["x-trace-id"]
    failed = graph.invoke("raise").headers["x-trace-id"]
    found: dict[str, Any] = {}
    for trace in (streamed, failed):
        eventually(lambda trace=trace: found.update({trace: traced(trace)}) or found[trace] is not None)
    assert found[streamed].data.spans[0].outputs["answer"] == "HELLO"
    assert str(found[failed].info.state).endswith("ERROR")


def test_a_caller_can_bring_the_trace_id(graph: Served) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = graph.client.post(
        "/invoke", json="hi", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    )
    assert reply.headers["x-trace-id"] == trace


@pytest.mark.usefixtures("stack")
def test_traces_are_sent_when_the_server_is_stopped(tmp_path: Path, eventually: Eventually) -> None:
    served = start(tmp_path, agents.SOLE, env={"THINKUBE_HOME": os.environ["THINKUBE_HOME"]})
    trace = served.invoke("abc").headers["x-trace-id"]
    served.client.close()
    served.child.stop(15)
    eventually(lambda: traced(trace) is not None)


def test_a_silent_trace_backend_neither_slows_nor_fails_requests(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        port = silent.getsockname()[1]
        served = start(
            tmp_path, agents.SOLE,
            env={
                "LANGFUSE_BASE_URL": f"http://127.0.0.1:{port}",
                "LANGFUSE_PUBLIC_KEY": "public",
                "LANGFUSE_SECRET_KEY": "secret",
            },
        )  # fmt: skip
        assert any(entry["message"] == "tracing is on" for entry in served.logged())
        started = time.monotonic()
        for _ in range(200):
            assert served.output("abc")["answer"] == "cba"
        assert time.monotonic() - started < 4
        served.client.close()
        started = time.monotonic()
        served.child.stop(30)
        assert time.monotonic() - started < 9
        assert any("unsent" in entry["message"] for entry in served.logged())
