"""The native paths: `/invoke` and `/stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from thinkube.serving.agent import MODES, Mode, Turn
from thinkube.serving.auth import person
from thinkube.serving.log import trace_id
from thinkube.serving.runtime import Runtime, unserialisable
from thinkube.serving.shapes import ABSENT, InvalidInput, Problem
from thinkube.serving.thread_requests import turn_of
from thinkube.serving.thread_saver import INTERRUPT
from thinkube.serving.thread_state import interrupts_of
from thinkube.serving.wire import Refused, Unserialisable, decode, invalid, reply, sse

ENVELOPE = ("input", "session", "user", "thread_id", "checkpoint_id", "resume", "if_busy")
SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True)
class Asked:
    """One request: its input as sent and as checked, whose conversation, who asks, and on which thread."""

    given: Any
    values: Any
    session: str | None
    user: str | None
    turn: Turn | None = None


async def asked(runtime: Runtime, request: Request) -> Asked:
    """Read `{"input": …, "session": …, …}`; a body without that `input` or `resume` is the input itself."""
    body = await runtime.body(request)
    return read(runtime, decode(body) if body.strip() else ABSENT, request)


def read(runtime: Runtime, payload: Any, request: Request) -> Asked:
    """One request's JSON, its headers and its path as what is asked."""
    session = request.headers.get("x-session-id")
    user = request.headers.get("x-user-id") or person(request.scope)
    thread, parts = request.path_params.get("thread"), {}
    if is_envelope(payload, thread):
        session, user = _name(payload, "session") or session, _name(payload, "user") or user
        parts, payload = payload, payload.get("input", ABSENT)
    turn = turn_of(runtime, parts, thread or request.headers.get("x-thread-id"), session)
    if turn is not None and turn.resume is not ABSENT:
        if payload is not ABSENT:
            raise invalid(InvalidInput([Problem("resume", "either resume or input, not both")]))
        return Asked({"resume": turn.resume}, ABSENT, session or turn.thread, user, turn)
    try:
        values = runtime.agent.takes.validate(payload)
    except InvalidInput as error:
        raise invalid(error) from error
    session = session or (turn.thread if turn else None)
    return Asked(None if payload is ABSENT else payload, values, session, user, turn)


def is_envelope(payload: Any, thread: str | None) -> bool:
    """Whether a body holds the input among other things, rather than being it."""
    if not isinstance(payload, dict) or not set(payload) <= set(ENVELOPE):
        return False
    return "input" in payload or ("resume" in payload and (thread is not None or "thread_id" in payload))


def _name(payload: dict[str, Any], key: str) -> str | None:
    value = payload.get(key)
    if value is None or isinstance(value, str):
        return value
    raise invalid(InvalidInput([Problem(key, "a text is expected")]))


async def invoke(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    call = await asked(runtime, request)
    output = await runtime.run(request, call.given, call.values, call.session, call.user, call.turn)
    try:
        return reply(result(output, call.turn))
    except Unserialisable as error:
        raise unserialisable(error) from error


def result(output: Any, turn: Turn | None) -> dict[str, Any]:
    """What a run answers: its output, and where its conversation goes on."""
    answer: dict[str, Any] = {"output": output, "trace_id": trace_id.get()}
    if turn is not None:
        answer["thread_id"] = turn.thread
    if isinstance(output, dict) and INTERRUPT in output:
        answer["output"] = {key: value for key, value in output.items() if key != INTERRUPT}
        answer["interrupts"] = interrupts_of(output[INTERRUPT])
        answer.setdefault("thread_id", trace_id.get())  # a run without a thread gets one of that name
    return answer


async def stream(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    modes = _modes(request.query_params.get("mode", ""))
    call = await asked(runtime, request)
    return StreamingResponse(
        _events(runtime, call, modes), media_type="text/event-stream", headers=SSE_HEADERS
    )


def _modes(text: str) -> tuple[Mode, ...]:
    asked_for = [word for word in text.split(",") if word]
    if unknown := [word for word in asked_for if word not in MODES]:
        problem = Problem("mode", f"{unknown[0]!r} is not one of {', '.join(MODES)}")
        raise invalid(InvalidInput([problem]))
    return tuple(mode for mode in MODES if mode in asked_for)


async def _events(runtime: Runtime, call: Asked, modes: tuple[Mode, ...]) -> AsyncIterator[bytes]:
    trace = trace_id.get() or ""
    try:
        number = 0
        async for happened in runtime.events(
            call.given, call.values, call.session, call.user, modes, call.turn
        ):
            if happened is None:
                yield b": still running\n\n"
                continue
            number += 1
            data = result(happened.data, call.turn) if happened.kind == "output" else happened.data
            yield sse(happened.kind, data, number)
    except Unserialisable as error:
        yield sse("error", unserialisable(error).body(trace))
    except Refused as error:
        yield sse("error", error.body(trace))
