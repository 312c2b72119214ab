"""The native paths: `/invoke` and `/stream`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from thinkube.serving.agent import MODES, Mode
from thinkube.serving.auth import person
from thinkube.serving.log import trace_id
from thinkube.serving.runtime import Runtime, unserialisable
from thinkube.serving.shapes import ABSENT, InvalidInput, Problem
from thinkube.serving.wire import Refused, Unserialisable, decode, invalid, reply, sse

ENVELOPE = ("input", "session", "user")
SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(frozen=True)
class Asked:
    """One request: its input as sent and as checked, whose conversation, and who asks."""

    given: Any
    values: Any
    session: str | None
    user: str | None


async def asked(runtime: Runtime, request: Request) -> Asked:
    """Read `{"input": …, "session": …, "user": …}`; a body without that `input` is the input itself."""
    body = await runtime.body(request)
    payload = decode(body) if body.strip() else ABSENT
    session = request.headers.get("x-session-id")
    user = request.headers.get("x-user-id") or person(request.scope)
    if isinstance(payload, dict) and "input" in payload and set(payload) <= set(ENVELOPE):
        session, user = _name(payload, "session") or session, _name(payload, "user") or user
        payload = payload["input"]
    try:
        values = runtime.agent.takes.validate(payload)
    except InvalidInput as error:
        raise invalid(error) from error
    return Asked(None if payload is ABSENT else payload, values, session, user)


def _name(payload: dict[str, Any], key: str) -> str | None:
    value = payload.get(key)
    if value is None or isinstance(value, str):
        return value
    raise invalid(InvalidInput([Problem(key, "a text is expected")]))


async def invoke(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    call = await asked(runtime, request)
    output = await runtime.run(request, call.given, call.values, call.session, call.user)
    try:
        return reply({"output": output, "trace_id": trace_id.get()})
    except Unserialisable as error:
        raise unserialisable(error) from error


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
        async for happened in runtime.events(call.given, call.values, call.session, call.user, modes):
            if happened is None:
                yield b": still running\n\n"
                continue
            number += 1
            data = (
                {"output": happened.data, "trace_id": trace} if happened.kind == "output" else happened.data
            )
            yield sse(happened.kind, data, number)
    except Unserialisable as error:
        yield sse("error", unserialisable(error).body(trace))
    except Refused as error:
        yield sse("error", error.body(trace))
