"""Threads: state that outlives the process, one run at a time, interrupt and resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving.conftest import Served, start

COUNTER = """
import asyncio, operator, os, time
from typing import Annotated
from typing_extensions import TypedDict
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

class State(TypedDict, total=False):
    text: str
    said: Annotated[list, operator.add]

async def slow(state):
    seconds = float(state["text"].partition(" ")[2] or 0) if state["text"].startswith("sleep") else 0
    await asyncio.sleep(seconds)
    return {"said": [state["text"]]}

def last(state):
    if state["text"] == "ask":
        return {"said": ["answer " + str(interrupt({"question": "really?"}))]}
    if state["text"] == "fail":
        raise ValueError("no")
    return {"said": ["ok"]}

builder = (
    StateGraph(State).add_node(slow).add_node(last)
    .add_edge(START, "slow").add_edge("slow", "last").add_edge("last", END)
)
"""
PLAIN = COUNTER + "agent = builder.compile()\n"
REMEMBERS = "from langgraph.checkpoint.memory import MemorySaver\n" + COUNTER
REMEMBERS += "agent = builder.compile(checkpointer=MemorySaver())\n"


def said(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["output"]["said"]
    return found


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Served]]:
    """Two processes of one deployment, with one store of threads."""
    folder = tmp_path_factory.mktemp("pair")
    env = {"THINKUBE_STATE": str(folder / "state")}
    if request.param == "postgres":
        env["THINKUBE_THREADS_URL"] = request.getfixturevalue("postgres")
    both = [start(folder / each, REMEMBERS, env) for each in ("one", "two")]
    yield both[0], both[1]
    for each in both:
        each.client.close()
        each.child.stop(15)


def test_a_thread_is_the_same_in_every_process(pair: tuple[Served, Served]) -> None:
    one, two = pair
    assert said(one.invoke({"text": "a"}, thread_id="shared")) == ["a", "ok"]
    answer = two.invoke({"text": "b"}, thread_id="shared")
    assert said(answer) == ["a", "ok", "b", "ok"]
    assert answer.json()["thread_id"] == "shared"
    assert said(one.client.post("/threads/shared/invoke", json={"text": "c"})) == [
        "a", "ok", "b", "ok", "c", "ok",
    ]  # fmt: skip
    state = two.client.get("/threads/shared").json()
    assert (state["status"], state["next"], state["values"]["text"]) == ("idle", [], "c")


def test_threads_are_listed_read_forked_changed_and_deleted(pair: tuple[Served, Served]) -> None:
    one, two = pair
    for number in range(3):
        one.invoke({"text": str(number)}, thread_id=f"list/{number}")
    first = two.client.get("/threads", params={"limit": 2}).json()
    assert [each["thread_id"] for each in first["threads"]] == ["list/2", "list/1"]
    assert first["threads"][0]["created_at"] < first["threads"][0]["updated_at"]
    rest = two.client.get("/threads", params={"limit": 2, "before": first["next"]}).json()
    assert rest["threads"][0]["thread_id"] == "list/0"

    one.invoke({"text": "more"}, thread_id="list/0")
    past = two.client.get("/threads/list/0/history", params={"limit": 50}).json()["checkpoints"]
    early = next(each for each in past if each["values"].get("said") == ["0", "ok"] and not each["next"])
    copied = two.client.post(
        "/threads/list/0/fork", json={"thread_id": "copy", "checkpoint_id": early["checkpoint_id"]}
    )
    assert copied.status_code == 201
    assert copied.json()["values"]["said"] == ["0", "ok"]
    assert said(one.invoke({"text": "other"}, thread_id="copy")) == ["0", "ok", "other", "ok"]
    assert one.client.get("/threads/list/0").json()["values"]["said"] == ["0", "ok", "more", "ok"]
    assert error(two.client.post("/threads/list/0/fork", json={"thread_id": "copy"})) == (
        409,
        "thread_exists",
    )

    changed = one.client.post("/threads/copy/state", json={"values": {"said": ["by hand"]}})
    assert changed.json()["values"]["said"][-1] == "by hand"
    assert error(one.client.post("/threads/copy/state", json={"values": 42}))[0] == 422

    assert two.client.delete("/threads/copy").status_code == 204
    assert error(one.client.get("/threads/copy")) == (404, "thread_not_found")
    assert error(one.client.delete("/threads/copy")) == (404, "thread_not_found")
    assert said(one.invoke({"text": "anew"}, thread_id="copy")) == ["anew", "ok"]


def test_an_interrupt_is_answered_in_another_process(pair: tuple[Served, Served]) -> None:
    one, two = pair
    asked = one.invoke({"text": "ask"}, thread_id="approval").json()
    assert asked["interrupts"][0]["value"] == {"question": "really?"}
    assert asked["output"]["said"] == ["ask"]
    waiting = two.client.get("/threads", params={"status": "interrupted"}).json()["threads"]
    assert [(each["thread_id"], each["status"]) for each in waiting] == [("approval", "interrupted")]
    assert error(two.client.post("/threads/approval/invoke", json={"resume": None})) == (
        422,
        "invalid_input",
    )
    answer = two.client.post("/invoke", json={"thread_id": "approval", "resume": "yes"})
    assert said(answer) == ["ask", "answer yes"]
    assert error(two.client.post("/threads/approval/invoke", json={"resume": "yes"})) == (
        409,
        "nothing_to_resume",
    )
    assert error(two.client.post("/threads/nowhere/invoke", json={"resume": "yes"})) == (
        404,
        "thread_not_found",
    )


@pytest.mark.parametrize("across", [False, True], ids=["one process", "two processes"])
def test_of_two_requests_on_a_thread_the_second_does_as_it_says(
    pair: tuple[Served, Served], across: bool, eventually: Callable[..., None]
) -> None:
    one, two = pair[0], pair[1 if across else 0]
    thread = f"busy {across}"

    def busy() -> bool:
        answer = two.client.get(f"/threads/{thread}")
        return answer.status_code == 200 and answer.json()["status"] == "busy"

    def refused_while_busy(if_busy: str | None) -> Any:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(one.invoke, {"text": "sleep 1.5"}, thread_id=thread)
            eventually(busy)
            second = two.invoke(
                {"text": "second"}, thread_id=thread, **({"if_busy": if_busy} if if_busy else {})
            )
            return running.result(), second

    first, second = refused_while_busy("reject")
    assert said(first) == ["sleep 1.5", "ok"]
    assert error(second) == (409, "thread_busy")

    first, second = refused_while_busy(None)
    assert said(first) == ["sleep 1.5", "ok"] * 2
    assert said(second) == ["sleep 1.5", "ok"] * 2 + ["second", "ok"]

    first, second = refused_while_busy("interrupt")
    assert error(first) == (409, "run_interrupted")
    assert said(second) == ["sleep 1.5", "ok"] * 2 + ["second", "ok"] * 2
    history = one.client.get(f"/threads/{thread}/history", params={"limit": 100}).json()["checkpoints"]
    parents = [each["parent_checkpoint_id"] for each in history]
    assert len(set(parents)) == len(parents), "the thread has forked"


def test_many_requests_on_one_thread_come_one_after_another(pair: tuple[Served, Served]) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda n: said(pair[n % 2].invoke({"text": str(n)}, thread_id="crowd")), range(24))
        )
    whole = max(answers, key=len)
    assert sorted(whole) == sorted([*map(str, range(24)), *["ok"] * 24])
    for answer in answers:
        assert whole[: len(answer)] == answer


def test_a_killed_process_leaves_the_thread_free_and_its_checkpoints(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    env = {"THINKUBE_STATE": str(tmp_path / "state")}
    first = start(tmp_path / "one", PLAIN, env)
    assert said(first.invoke({"text": "kept"}, thread_id="t")) == ["kept", "ok"]
    with ThreadPoolExecutor(1) as pool:
        cut_off = pool.submit(first.invoke, {"text": "sleep 60"}, thread_id="t")
        eventually(lambda: first.client.get("/threads/t").json()["next"] == ["slow"])
        first.child.stop(0.0)
        assert isinstance(cut_off.exception(), httpx.TransportError)
    second = start(tmp_path / "two", PLAIN, env)
    state = second.client.get("/threads/t").json()
    assert (state["status"], state["next"]) == ("idle", ["slow"])
    assert said(second.invoke({"text": "after"}, thread_id="t")) == ["kept", "ok", "after", "ok"]
    second.child.stop(15)


def test_a_run_that_was_cut_off_goes_on_where_it_was(serve: Callable[..., Served]) -> None:
    graph = serve(PLAIN)
    assert error(graph.invoke({"text": "fail"}, thread_id="broken")) == (500, "agent_error")
    state = graph.client.get("/threads/broken").json()
    assert (state["next"], state["failed"], state["values"]["said"]) == (["last"], ["last"], ["fail"])
    graph.client.post("/threads/broken/state", json={"values": {"text": "mended"}, "as_node": "slow"})
    answer = graph.client.post("/threads/broken/invoke", json={"resume": None})
    assert said(answer) == ["fail", "ok"]


def test_a_stream_is_interrupted_and_resumed(serve: Callable[..., Served]) -> None:
    graph = serve(PLAIN)

    def events(path: str, body: Any) -> list[tuple[str, Any]]:
        text = graph.client.post(path, json=body).text
        blocks = [
            dict(line.split(": ", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")
        ]
        return [(block["event"], json.loads(block["data"])) for block in blocks]

    kind, asked = events("/threads/s/stream", {"input": {"text": "ask"}})[-1]
    assert (kind, asked["thread_id"], asked["output"]["said"]) == ("output", "s", ["ask"])
    assert asked["interrupts"][0]["value"] == {"question": "really?"}
    kind, answered = events("/stream", {"thread_id": "s", "resume": 7})[-1]
    assert (kind, answered["output"]["said"]) == ("output", ["ask", "answer 7"])


def test_a_session_is_a_thread_only_where_the_author_gave_a_memory(serve: Callable[..., Served]) -> None:
    plain, remembers = serve(PLAIN), serve(REMEMBERS)
    assert said(plain.invoke({"text": "a"}, session="s")) == ["a", "ok"]
    assert said(plain.invoke({"text": "b"}, session="s")) == ["b", "ok"]
    assert said(remembers.invoke({"text": "a"}, session="s")) == ["a", "ok"]
    assert said(remembers.invoke({"text": "b"}, session="s")) == ["a", "ok", "b", "ok"]
    assert [each["thread_id"] for each in remembers.client.get("/threads").json()["threads"]] == ["s"]


def test_a_call_without_a_thread_leaves_one_only_for_an_answer(serve: Callable[..., Served]) -> None:
    graph = serve(REMEMBERS + "# alone\n")
    assert said(graph.invoke({"text": "a"})) == ["a", "ok"]
    assert graph.client.get("/threads").json()["threads"] == []
    asked = graph.invoke({"text": "ask"}).json()
    assert said(graph.client.post(f"/threads/{asked['thread_id']}/invoke", json={"resume": "so"})) == [
        "ask",
        "answer so",
    ]
    assert any("gives way to" in line["message"] for line in graph.logged())


def test_what_is_wrong_with_a_thread_is_said(serve: Callable[..., Served], tmp_path: Path) -> None:
    graph = serve(PLAIN)
    for body in ({"thread_id": 3}, {"thread_id": ""}, {"thread_id": "x" * 256}, {"thread_id": "a\0"}):
        assert error(graph.client.post("/invoke", json={"input": {"text": "a"}, **body})) == (
            422,
            "invalid_input",
        )
    wrong = {"input": {"text": "a"}, "thread_id": "t", "if_busy": "wait"}
    assert graph.client.post("/invoke", json=wrong).json()["error"]["param"] == "if_busy"
    gone = {
        "input": {"text": "a"},
        "thread_id": "never",
        "checkpoint_id": "1ef4f797-8335-6428-8001-8a1503f9b875",
    }
    assert error(graph.client.post("/invoke", json=gone)) == (404, "checkpoint_not_found")
    assert graph.client.get("/threads", params={"limit": "0"}).status_code == 422
    function = serve("def agent(question: str) -> str:\n    return question\n")
    assert error(function.client.get("/threads")) == (422, "no_threads")
    assert error(function.invoke("a", thread_id="t")) == (422, "no_threads")
    off = serve(COUNTER + "agent = builder.compile(checkpointer=False)\n")
    assert error(off.invoke({"text": "a"}, thread_id="t")) == (422, "no_threads")
    (tmp_path / "file").touch()
    stuck = serve(PLAIN, {"THINKUBE_STATE": str(tmp_path / "file" / "state")})
    assert error(stuck.invoke({"text": "a"}, thread_id="t")) == (503, "threads_unavailable")
    assert said(stuck.invoke({"text": "a"})) == ["a", "ok"]
    nowhere = serve(PLAIN, {"THINKUBE_THREADS_URL": "postgresql://a:secret@127.0.0.1:1/x"})
    refusal = nowhere.invoke({"text": "a"}, thread_id="t")
    assert error(refusal) == (503, "threads_unavailable")
    assert "secret" not in refusal.text + nowhere.log.read_text()


def test_a_chat_goes_on_in_its_thread_and_answers_what_it_is_asked(serve: Callable[..., Served]) -> None:
    graph = serve(PLAIN)

    def chat(*texts: str, **more: Any) -> str:
        roles = ("user", "assistant")
        messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
        answer = graph.client.post("/v1/chat/completions", json={"messages": messages, **more})
        return str(answer.json()["choices"][0]["message"]["content"])

    question = chat("ask", thread_id="chat")
    assert json.loads(question) == {"question": "really?"}
    chat("ask", question, "certainly", thread_id="chat")
    assert graph.client.get("/threads/chat").json()["values"]["said"] == ["ask", "answer certainly"]
    chat("ask", question, "certainly", "so", "more", thread_id="chat")
    assert graph.client.get("/threads/chat").json()["values"]["said"][2:] == ["more", "ok"]
