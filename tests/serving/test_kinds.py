"""Each kind of object, over HTTP."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from tests.serving import agents
from tests.serving.conftest import Serve


def test_a_graph_takes_its_state_and_gives_its_state(serve: Serve) -> None:
    graph = serve(agents.GRAPH)
    assert graph.output({"question": "hi", "limit": 1}) == {"question": "hi", "answer": "H", "limit": 1}
    assert graph.output("hi")["answer"] == "HI"


def test_a_graph_says_what_it_can_not_do_without(serve: Serve) -> None:
    assert serve(agents.GRAPH).invoke({"limit": 1}).json()["error"]["param"] == "input.question"
    for empty in ({}, {"messages": []}, {"messages": None}):
        assert serve(agents.CHAT_GRAPH).invoke(empty).status_code == 422
    own = serve(
        """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class Asked(TypedDict):
    topic: str
    depth: int

class State(Asked):
    notes: list[str]

def look(state):
    return {"notes": [state["topic"]] * state["depth"]}

builder = StateGraph(State, input_schema=Asked)
agent = builder.add_node(look).add_edge(START, "look").add_edge("look", END).compile()
"""
    )
    assert own.output({"topic": "zip", "depth": 2})["notes"] == ["zip", "zip"]
    assert own.invoke({"topic": "zip"}).json()["error"]["param"] == "input.depth"


def test_a_builder_is_compiled(serve: Serve) -> None:
    assert serve(agents.BUILDER).output("hi")["answer"] == "HI"


def test_a_pydantic_state_is_checked_by_its_own_rules(serve: Serve) -> None:
    graph = serve(agents.PYDANTIC_GRAPH)
    assert graph.output({"question": "ab", "copies": 2})["answer"] == "abab"
    wrong = graph.invoke({"question": "ab", "copies": 9})
    assert wrong.status_code == 422
    assert wrong.json()["error"]["param"] == "input.copies"


def test_a_graph_on_messages_takes_openai_and_langchain_messages(serve: Serve) -> None:
    graph = serve(agents.CHAT_GRAPH)
    for message in ({"role": "user", "content": "hi"}, {"type": "human", "content": "hi"}):
        answer = graph.output({"messages": [message]})["messages"][-1]
        assert (answer["type"], answer["content"]) == ("ai", "1 messages, last: hi")
    wrong = graph.invoke({"messages": [{"role": "user"}, 7]})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "input.messages")


def test_a_chain(serve: Serve) -> None:
    chain = serve(agents.CHAIN)
    assert chain.output({"question": "cheese"}) == "Human: Say cheese"
    assert chain.chat("cheese").json()["choices"][0]["message"]["content"] == "Human: Say cheese"
    assert chain.invoke({}).json()["error"]["param"] == "input.question"


def test_a_chat_model_by_itself(serve: Serve) -> None:
    model = serve(agents.MODEL)
    assert model.output("hello")["content"] == "one two three"
    assert model.output([{"role": "user", "content": "hello"}])["content"] == "one two three"
    assert model.chat("hello").json()["choices"][0]["message"]["content"] == "one two three"
    assert (
        "".join(data["content"] for kind, data in model.events("hello") if kind == "delta") == "one two three"
    )


def test_a_function_of_several_parameters(serve: Serve) -> None:
    function = serve(agents.FUNCTION)
    assert function.output({"question": "hi", "loud": True}) == "HI"
    assert function.output({"question": "hi"}) == "hi"
    assert function.output("hi") == "hi"
    wrong = function.invoke({"question": "hi", "loud": "perhaps"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "input.loud")


@pytest.mark.parametrize("given", ["abc", {"question": "abc"}])
def test_a_function_of_one_parameter_takes_the_value_or_its_name(serve: Serve, given: object) -> None:
    assert serve(agents.SOLE).output(given) == {"answer": "cba", "source": "mirror"}


def test_an_untyped_parameter_takes_anything(serve: Serve) -> None:
    for given in ({"a": [1, None]}, [1], "text", 3.5, None):
        assert serve(agents.UNTYPED).output(given) == {"got": given}


def test_a_coroutine_and_a_callable_object(serve: Serve) -> None:
    assert serve(agents.COROUTINE).output("hi") == "hi!"
    assert serve(agents.CALLABLE).output("hi there") == "Hi There"


@pytest.mark.parametrize("source", [agents.GENERATOR, agents.ASYNC_GENERATOR])
def test_generators_stream_their_pieces_and_answer_with_the_whole(serve: Serve, source: str) -> None:
    served = serve(source)
    assert served.output("a b") == "a b "
    events = served.events("a b")
    assert events[:2] == [("delta", "a "), ("delta", "b ")]
    assert events[2][0] == "output"
    assert events[2][1]["output"] == "a b "


def test_a_graph_streams_the_modes_asked_for(serve: Serve) -> None:
    graph = serve(agents.GRAPH)
    assert [kind for kind, _ in graph.events("hi")] == ["updates", "output"]
    assert [kind for kind, _ in graph.events("hi", "/stream?mode=values")] == ["values", "values", "output"]
    assert graph.client.post("/stream?mode=dreams", json="hi").status_code == 422


def test_an_openai_client_works_unchanged(serve: Serve) -> None:
    served = serve(agents.CHAT_GRAPH)
    client = openai.OpenAI(base_url=f"{served.client.base_url}/v1", api_key="unused", max_retries=0)
    assert [model.id for model in client.models.list()] == ["trial"]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi there"}]
    whole = client.chat.completions.create(model="trial", messages=messages)
    assert whole.choices[0].message.content == "2 messages, last: hi there"
    chunks = list(client.chat.completions.create(model="trial", messages=messages, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert len(pieces) > 3, "tokens come one by one"
    assert "".join(pieces) == "2 messages, last: hi there"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_chat_with_question_and_answer_fields(serve: Serve) -> None:
    graph = serve(agents.GRAPH)
    assert graph.chat("hi").json()["choices"][0]["message"]["content"] == "HI"
    assert serve(agents.SOLE).chat("hi").json()["choices"][0]["message"]["content"] == "ih"
    served = serve(agents.GENERATOR)
    client = openai.OpenAI(base_url=f"{served.client.base_url}/v1", api_key="unused", max_retries=0)
    stream = client.chat.completions.create(
        model="trial", messages=[{"role": "user", "content": "a b"}], stream=True
    )
    assert [c.choices[0].delta.content for c in stream if c.choices[0].delta.content] == ["a ", "b "]


def test_chat_with_an_agent_that_takes_no_text(serve: Serve) -> None:
    served = serve("def agent(left: int, right: int) -> int:\n    return left + right\n")
    assert served.output({"left": 1, "right": 2}) == 3
    client = openai.OpenAI(base_url=f"{served.client.base_url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(openai.UnprocessableEntityError, match="call /invoke with left, right"):
        client.chat.completions.create(model="trial", messages=[{"role": "user", "content": "1 2"}])


@pytest.mark.parametrize("source", [agents.REMEMBERING, agents.REMEMBERING_BLOCKING])
def test_a_graph_with_a_checkpointer_remembers_per_session(serve: Serve, source: str) -> None:
    graph = serve(source)

    def said(session: str | None) -> str:
        answer = graph.chat("hi", **({"session": session} if session else {}))
        return str(answer.json()["choices"][0]["message"]["content"])

    assert [said("a"), said("b"), said("a"), said(None), said(None)] == [
        "1 so far", "1 so far", "3 so far", "1 so far", "1 so far",
    ]  # fmt: skip
    reply = graph.client.post(
        "/stream", json={"input": {"messages": [{"role": "user", "content": "x"}]}, "session": "a"}
    )
    assert "5 so far" in reply.text
    assert (
        graph.invoke({"messages": [{"role": "user", "content": "x"}]}, session="a").json()["output"][
            "messages"
        ][-1]["content"]
        == "7 so far"
    )


def test_blocking_steps_of_a_graph_run_side_by_side(serve: Serve) -> None:
    graph = serve(
        agents.GRAPH.replace("def shout(state):", "def shout(state):\n    import time; time.sleep(0.5)")
    )
    graph.output("warm")
    started = time.monotonic()
    with ThreadPoolExecutor(20) as threads:
        assert all(answer["answer"] == "HI" for answer in threads.map(graph.output, ["hi"] * 20))
    assert time.monotonic() - started < 3
