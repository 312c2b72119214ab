"""What models are asked is traced without a line for it; `tk.trace`; traces and runs know of each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.services.conftest import Serve

import thinkube as tk
from thinkube.errors import CredentialRejected, UsageError
from thinkube.model.endpoint import Credential
from thinkube.services import spanning, spool, tracing
from thinkube.services.discovery import find

QUESTION = [{"role": "user", "content": "Say hello."}]
MODEL = "smollm2-135m-instruct"

Read = Callable[[], list[Any]]


@pytest.fixture
def traces(stack: object) -> Iterator[Read]:
    """What was traced since the test began, oldest first."""
    assert stack
    experiment = f"automatic-{uuid.uuid4().hex[:8]}"
    langfuse, mlflow = tk.langfuse(experiment=experiment), tk.mlflow()

    def read() -> list[Any]:
        langfuse.flush()
        found = mlflow.get_experiment_by_name(experiment)
        if found is None:
            return []
        read = mlflow.search_traces(locations=[found.experiment_id], return_type="list")
        # MLflow orders by the millisecond, and two traces can begin in one.
        return sorted(read, key=lambda trace: min(span.start_time_ns for span in trace.data.spans))

    yield read
    tracing._chosen = None


def tree(trace: Any) -> list[tuple[str, str, str | None]]:
    """Name and kind of each span, with its parent's name."""
    names = {span.span_id: span.name for span in trace.data.spans}
    return [(span.name, span.span_type, names.get(span.parent_id)) for span in trace.data.spans]


def test_langchain_and_langgraph_sync_async_and_streamed(traces: Read):
    from langgraph.graph import END, START, MessagesState, StateGraph

    llm = tk.llm(temperature=0, max_tokens=6)

    def graph(node: Any) -> Any:
        builder = StateGraph(MessagesState)
        builder.add_node("answer", node)
        builder.add_edge(START, "answer")
        builder.add_edge("answer", END)
        return builder.compile()

    async def answer(state: MessagesState) -> Any:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    async def streamed() -> int:
        return len([chunk async for chunk in llm.astream("Say hello.")])

    llm.invoke("Say hello.")
    assert list(llm.stream("Say hello."))
    assert asyncio.run(streamed())
    graph(lambda state: {"messages": [llm.invoke(state["messages"])]}).invoke({"messages": ["Say hello."]})
    asyncio.run(graph(answer).ainvoke({"messages": ["Say hello."]}))

    model = ("ChatOpenAI", "LLM", None)
    steps = [("LangGraph", "CHAIN", None), ("answer", "CHAIN", "LangGraph"), ("ChatOpenAI", "LLM", "answer")]
    found = traces()
    assert [tree(trace) for trace in found] == [[model], [model], [model], steps, steps]
    assert [trace.info.token_usage["output_tokens"] for trace in found] == [6] * 5


def test_openai_of_every_kind(traces: Read):
    client = tk.openai()

    async def asynchronous() -> None:
        asked = tk.openai(asynchronous=True)
        await asked.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=5)  # type: ignore[arg-type]

    chat: Any = client.chat.completions.create
    chat(model=MODEL, messages=QUESTION, max_tokens=5)
    list(
        chat(
            model=MODEL,
            messages=QUESTION,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    asyncio.run(asynchronous())
    client.responses.create(model=MODEL, input="Say hello.", max_output_tokens=20)
    client.embeddings.create(model="all-minilm-l6-v2", input="Say hello.")

    model, embedding = ("OpenAI-generation", "LLM", None), ("OpenAI-embedding", "EMBEDDING", None)
    found = traces()
    assert [tree(trace) for trace in found] == [[model]] * 4 + [[embedding]]
    for trace in found[:3]:
        assert trace.info.token_usage["output_tokens"] == 5
    for trace in found[3:]:
        assert trace.info.token_usage["input_tokens"] > 2


def test_a_crew(traces: Read):
    from crewai import Agent, Crew, Task

    agent = Agent(
        role="teacher",
        goal="explain",
        backstory="patient",
        llm=tk.crew_llm(temperature=0, max_tokens=6),
        max_iter=1,
    )
    task = Task(description="Explain a socket.", expected_output="a sentence", agent=agent)
    with tk.trace("lesson"):
        Crew(agents=[agent], tasks=[task]).kickoff()
    (trace,) = traces()
    (_, crew, step, model) = tree(trace)
    assert (crew[1:], step[1:], model[1:]) == (
        ("CHAIN", "lesson"),
        ("AGENT", crew[0]),
        ("LLM", step[0]),
    )
    assert trace.info.token_usage["output_tokens"] == 6


def test_the_context_and_the_decorator(traces: Read):
    class Index:
        @tk.trace("search", as_type="retriever")
        def search(self, text: str) -> list[str]:
            return [text.upper()]

    @tk.trace
    def answer(text: str) -> str:
        """Answers."""
        tk.openai().chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=3)  # type: ignore[call-overload]
        return "".join(Index().search(text))

    @tk.trace(as_type="agent", session_id="s-2")
    async def later(text: str) -> str:
        await asyncio.sleep(0)
        return text * 2

    assert (answer.__name__, answer.__doc__) == ("answer", "Answers.")
    assert asyncio.iscoroutinefunction(later)
    with tk.trace("whole", input={"q": 1}, session_id="s-1", user_id="ada", tags=["v3"]) as span:
        assert answer("ab") == "AB"
        span.update(output="done")
    assert asyncio.run(later("ab")) == "abab"
    with pytest.raises(ZeroDivisionError), tk.trace("fails"):
        _ = 1 / 0

    whole, second, failed = traces()
    assert tree(whole) == [
        ("whole", "UNKNOWN", None),
        ("answer", "UNKNOWN", "whole"),
        ("OpenAI-generation", "LLM", "answer"),
        ("search", "RETRIEVER", "answer"),
    ]
    root, inner = whole.data.spans[:2]
    assert (root.inputs, root.outputs) == ({"q": 1}, "done")
    assert inner.inputs == {"args": ["ab"], "kwargs": {}}
    assert inner.outputs == "AB"
    assert whole.info.trace_metadata["mlflow.trace.session"] == "s-1"
    assert whole.info.trace_metadata["mlflow.trace.user"] == "ada"
    assert whole.info.tags["v3"] == "true"
    assert tree(second) == [("later", "AGENT", None)]
    assert second.info.trace_metadata["mlflow.trace.session"] == "s-2"
    assert failed.info.state == "ERROR"


def test_an_option_that_is_none_of_a_functions_is_named():
    with pytest.raises(UsageError, match="can't take outputs"):
        tk.trace("step", outputs=1)(len)


def test_tokens_and_cost(traces: Read):
    with (
        tk.trace("priced"),
        tk.trace("listed", as_type="generation", model="gpt-4o") as span,
    ):
        span.update(output="x", usage_details={"input": 1000, "output": 500})
    with tk.trace(
        "said",
        as_type="generation",
        model="of-our-own",
        usage_details={"input": 10, "output": 5},
        cost_details={"input": 0.5, "output": 0.25},
    ):
        pass
    listed, said = traces()
    assert listed.info.token_usage == {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
    assert 0 < listed.info.cost["input_cost"] < listed.info.cost["output_cost"] < 0.1
    assert said.info.cost == {"input_cost": 0.5, "output_cost": 0.25, "total_cost": 0.75}


def test_a_run_and_the_traces_in_it_know_of_each_other(traces: Read):
    mlflow = tk.mlflow()
    with mlflow.start_run() as run:
        for number in range(3):
            with tk.trace(f"in-{number}"), tk.trace("step"):
                pass
    with tk.trace("outside"):
        pass
    *inside, outside = traces()
    assert {trace.info.tags["mlflow_run_id"] for trace in inside} == {run.info.run_id}
    assert "mlflow_run_id" not in outside.info.tags
    linked = mlflow.search_traces(
        locations=[run.info.experiment_id, outside.info.experiment_id],
        run_id=run.info.run_id,
        return_type="list",
    )
    assert {trace.info.trace_id for trace in linked} == {trace.info.trace_id for trace in inside}
    assert all(len(trace.data.spans) == 2 for trace in linked)


def test_the_link_survives_a_backend_that_is_away(
    stack: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unused_port: int
):
    assert stack
    mlflow, own = tk.mlflow(), find("langfuse")
    experiment = f"automatic-{uuid.uuid4().hex[:8]}"
    with mlflow.start_run() as run:
        monkeypatch.setenv("THINKUBE_HOME", str(tmp_path))
        away = tracing.connect(replace(own, url=f"http://127.0.0.1:{unused_port}"), experiment=experiment)
        with tk.trace("away"):
            pass
        away.flush()
        (kept,) = spool.spool().glob("*.otlp")
        head, _, body = kept.read_bytes().partition(b"\n")
        assert json.loads(head)["headers"] == {"x-mlflow-run-id": run.info.run_id}
        # The place it waits for comes back: here, at its real address.
        kept.write_bytes(
            json.dumps({**json.loads(head), "url": f"{own.url}/v1/traces"}).encode() + b"\n" + body
        )
        with tk.trace("back"):
            pass
        back = tracing.connect(own, experiment=experiment)
        with tk.trace("back"):
            pass
        back.flush()
    tracing._chosen = None
    found = mlflow.get_experiment_by_name(experiment)
    linked = mlflow.search_traces(
        locations=[run.info.experiment_id, found.experiment_id],
        run_id=run.info.run_id,
        return_type="list",
    )
    assert sorted(trace.data.spans[0].name for trace in linked) == ["away", "back"]


def test_a_run_is_told_of_its_trace_in_langfuse(stack: object, serve: Serve, eventually: Callable[..., None]):
    class Langfuse(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(
                {
                    "data": [
                        {
                            "id": "project-1",
                            "name": "p",
                            "organization": {"id": "o", "name": "o"},
                            "metadata": {},
                        }
                    ]
                }
            )

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer({})

        def _answer(self, content: object) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            """Keeps the test's output clean."""

    assert stack
    url, mlflow = serve(Langfuse), tk.mlflow()
    key = f"pk-{uuid.uuid4().hex[:8]}"
    tk.langfuse(url=url, credential=Credential("sk", key))
    with mlflow.start_run() as run, tk.trace("answer") as span:
        trace = span.trace_id
    tracing._chosen = None
    tag = f"langfuse.trace.{trace}"
    eventually(lambda: tag in mlflow.get_run(run.info.run_id).data.tags)
    assert mlflow.get_run(run.info.run_id).data.tags[tag] == f"{url}/project/project-1/traces/{trace}"


@pytest.mark.usefixtures("empty_home")
def test_without_a_backend_the_work_goes_on_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracing, "_chosen", None)
    spanning._warn.cache_clear()

    @tk.trace
    def double(number: int) -> int:
        return 2 * number

    def work() -> None:
        assert double(2) == 4
        with tk.trace("step") as span, span.start_as_current_observation(name="inner") as inner:
            assert inner.update(output=1).trace_id == ""

    with pytest.warns(UserWarning, match=r"records nothing[^$]*thinkube up") as caught:
        work()
    assert len(caught) == 1


@pytest.mark.usefixtures("stack")
def test_handing_over_a_client_loads_nothing_to_trace_with():
    code = (
        "import sys, thinkube as tk\n"
        "tk.openai(); tk.llm()\n"
        "print(sorted({'langfuse', 'wrapt', 'openinference'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert child.stdout.strip() == "[]", child.stderr


def test_the_switch_of_the_langfuse_sdk_turns_it_off(monkeypatch: pytest.MonkeyPatch):
    from thinkube.services import automatic

    monkeypatch.setattr(automatic, "_done", set())
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    with warnings.catch_warnings():
        automatic.trace_models()
    assert "follow" not in automatic._done


def test_traces_go_to_the_mlflow_of_the_environment(
    stack: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert stack
    own, experiment = find("mlflow"), f"automatic-{uuid.uuid4().hex[:8]}"
    assert own.credential
    monkeypatch.setenv("THINKUBE_HOME", str(tmp_path))  # where no stack runs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", own.credential.username or "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", own.credential.secret)
    monkeypatch.delenv("THINKUBE_EXPORTED", raising=False)
    langfuse = tk.langfuse(experiment=experiment)
    with tk.trace("elsewhere"):
        pass
    langfuse.flush()
    tracing._chosen = None
    monkeypatch.undo()
    mlflow = tk.mlflow()
    found = mlflow.get_experiment_by_name(experiment)
    assert len(mlflow.search_traces(locations=[found.experiment_id], return_type="list")) == 1
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.url)
    monkeypatch.setenv("THINKUBE_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    monkeypatch.delenv("THINKUBE_EXPORTED", raising=False)
    with pytest.raises(CredentialRejected, match="Langfuse") as caught:
        tk.langfuse()
    assert "MLFLOW_TRACKING_PASSWORD" in caught.value.fix
