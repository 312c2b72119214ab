"""What a request says about threads, checked."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any, cast

from thinkube.serving.agent import Agent, Turn, graph_of
from thinkube.serving.runtime import Runtime
from thinkube.serving.shapes import ABSENT, InvalidInput, Problem
from thinkube.serving.thread_state import Position, read
from thinkube.serving.thread_store import Threads
from thinkube.serving.thread_turns import STRATEGIES, IfBusy
from thinkube.serving.wire import Refused, invalid

LONGEST = 255


def turn_of(
    runtime: Runtime, parts: Mapping[str, Any], thread: str | None, session: str | None
) -> Turn | None:
    """The thread a request runs on: the one it names, or its session if the agent remembers by itself.

    Raises:
        Refused: it names one wrongly, or the agent keeps none.
    """
    named = parts.get("thread_id")
    thread = thread if named is None else named
    if thread is None and session is not None and remembers(runtime):
        thread = session
    if_busy = strategy(parts)
    checkpoint = parts.get("checkpoint_id")
    if thread is None:
        if "resume" in parts or checkpoint is not None:
            raise _wrong("thread_id", "the thread to go on with is needed")
        return None
    threads_of(runtime)
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise _wrong("checkpoint_id", "a text is expected")
    return Turn(thread_name(thread), if_busy, parts.get("resume", ABSENT), checkpoint)


def remembers(runtime: Runtime) -> bool:
    """Whether the agent's author gave it a memory, so that a session is a thread."""
    return getattr(runtime.agent, "memory", "off") in ("replaced", "own")


def threads_of(runtime: Runtime) -> Threads:
    """The agent's threads.

    Raises:
        Refused: it keeps none.
    """
    if runtime.threads is None:
        why = (
            "was compiled with checkpointer=False"
            if hasattr(runtime.agent, "memory")
            else f"is a {runtime.agent.kind}; LangGraph graphs keep state per thread"
        )
        raise Refused(422, "no_threads", f"This agent has no threads: it {why}.", param="thread_id")
    return runtime.threads


async def state_of(agent: Agent, thread: str) -> Position | None:
    """A thread's state; None where nothing has run on it yet."""
    try:
        return await read(await graph_of(agent), thread)
    except Refused as error:
        if error.kind != "thread_not_found":
            raise
        return None


def thread_name(value: Any, param: str = "thread_id") -> str:
    """A thread's id as a client gave it."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST:
        raise _wrong(param, f"a text of 1 to {LONGEST} characters is expected")
    if any(unicodedata.category(each) in ("Cc", "Cs") for each in value):
        raise _wrong(param, "it holds control characters")
    return value


def strategy(parts: Mapping[str, Any]) -> IfBusy | None:
    """What to do when the thread is busy, if the request says so."""
    if_busy = parts.get("if_busy")
    if if_busy is None:
        return None
    if if_busy not in STRATEGIES:
        raise _wrong("if_busy", f"one of {', '.join(STRATEGIES)} is expected")
    return cast("IfBusy", if_busy)


def _wrong(path: str, message: str) -> Refused:
    return invalid(InvalidInput([Problem(path, message)]))
