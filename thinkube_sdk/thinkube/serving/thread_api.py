"""The threads paths: list, read, history, fork, update, delete, and runs on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from thinkube.serving import native, thread_state
from thinkube.serving.agent import graph_of
from thinkube.serving.runtime import Runtime, unserialisable
from thinkube.serving.shapes import InvalidInput, Problem
from thinkube.serving.thread_requests import thread_name, threads_of
from thinkube.serving.thread_saver import when
from thinkube.serving.wire import Refused, Unserialisable, decode, invalid, reply

PAGE = 100


async def threads(request: Request) -> Response:
    """List threads, those with the latest checkpoint first."""
    runtime: Runtime = request.app.state.runtime
    kept = threads_of(runtime)
    limit = _limit(request)
    status = request.query_params.get("status")
    if status not in (None, "interrupted", "idle"):
        raise invalid(InvalidInput([Problem("status", "one of idle, interrupted is expected")]))
    interrupted = None if status is None else status == "interrupted"
    saver = await kept.saver()
    found = await saver.threads(limit, request.query_params.get("before"), interrupted)
    busy = await asyncio.gather(*(kept.busy(each.thread) for each in found))
    listed = [
        {
            "thread_id": each.thread,
            "status": "busy" if at_work else "interrupted" if each.interrupted else "idle",
            "created_at": when(each.first),
            "updated_at": when(each.latest),
        }
        for each, at_work in zip(found, busy, strict=True)
    ]
    return reply({"threads": listed, "next": found[-1].latest if len(found) == limit else None})


async def read(request: Request) -> Response:
    """A thread's state at its latest checkpoint, or at `?checkpoint_id=`."""
    runtime, thread = _asked(request)
    checkpoint = request.query_params.get("checkpoint_id")
    position = await thread_state.read(await graph_of(runtime.agent), thread, checkpoint)
    busy = await threads_of(runtime).busy(thread)
    status = "busy" if busy else "interrupted" if position.interrupts else "idle"
    return _written({**position.shown(), "status": status})


async def history(request: Request) -> Response:
    """A thread's checkpoints, latest first."""
    runtime, thread = _asked(request)
    limit = _limit(request)
    graph = await graph_of(runtime.agent)
    found = await thread_state.history(graph, thread, limit, request.query_params.get("before"))
    if not found:
        raise thread_state.not_found(thread)
    after = found[-1].checkpoint if len(found) == limit else None
    return _written({"checkpoints": [each.shown() for each in found], "next": after})


async def update(request: Request) -> Response:
    """Write values into a thread, as a person who corrects it would."""
    runtime, thread = _asked(request)
    payload = await _object(runtime, request, {"values", "as_node", "checkpoint_id"})
    graph = await graph_of(runtime.agent)
    as_node, checkpoint = _optional(payload, "as_node"), _optional(payload, "checkpoint_id")
    async with threads_of(runtime).turn(thread, "reject", brief=True):
        await thread_state.read(graph, thread, checkpoint)
        await thread_state.update(graph, thread, checkpoint, payload.get("values"), as_node)
        position = await thread_state.read(graph, thread)
    return _written(position.shown())


async def fork(request: Request) -> Response:
    """Copy a thread up to one of its checkpoints into a new one."""
    runtime, thread = _asked(request)
    payload = await _object(runtime, request, {"thread_id", "checkpoint_id"})
    target = thread_name(payload.get("thread_id", str(uuid4())))
    kept, graph = threads_of(runtime), await graph_of(runtime.agent)
    saver = await kept.saver()
    checkpoint = _optional(payload, "checkpoint_id")
    if target == thread:
        raise _taken(target)
    async with kept.turn(target, "reject", brief=True):
        if await _exists(graph, target):
            raise _taken(target)
        # Checkpoints are only ever added: the source may be running.
        position = await thread_state.read(graph, thread, checkpoint)
        await saver.copy(thread, position.checkpoint, target)
        copied = await thread_state.read(graph, target)
    return _written(copied.shown(), 201)


async def delete(request: Request) -> Response:
    """Remove a thread for good."""
    runtime, thread = _asked(request)
    graph = await graph_of(runtime.agent)
    async with threads_of(runtime).turn(thread, "reject", brief=True):
        await thread_state.read(graph, thread)
        await thread_state.remove(graph, thread)
    return Response(status_code=204)


Handler = Callable[[Request], Awaitable[Response]]
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/threads", threads),
    ("GET", "/threads/{thread:path}/history", history),
    ("POST", "/threads/{thread:path}/state", update),
    ("POST", "/threads/{thread:path}/fork", fork),
    ("POST", "/threads/{thread:path}/invoke", native.invoke),
    ("POST", "/threads/{thread:path}/stream", native.stream),
    ("GET", "/threads/{thread:path}", read),
    ("DELETE", "/threads/{thread:path}", delete),
)


def _asked(request: Request) -> tuple[Runtime, str]:
    runtime: Runtime = request.app.state.runtime
    threads_of(runtime)
    return runtime, thread_name(request.path_params["thread"])


async def _exists(graph: Any, thread: str) -> bool:
    try:
        await thread_state.read(graph, thread)
    except Refused:
        return False
    return True


def _taken(thread: str) -> Refused:
    return Refused(409, "thread_exists", f"There is a thread {thread!r} already.", param="thread_id")


async def _object(runtime: Runtime, request: Request, known: set[str]) -> dict[str, Any]:
    body = await runtime.body(request)
    payload = decode(body) if body.strip() else {}
    if not isinstance(payload, dict):
        raise invalid(
            InvalidInput([Problem("body", f"an object is expected, with {', '.join(sorted(known))}")])
        )
    if unknown := sorted(set(payload) - known):
        problem = Problem(unknown[0], f"there is no such field; known are {', '.join(sorted(known))}")
        raise invalid(InvalidInput([problem]))
    return payload


def _optional(payload: dict[str, Any], key: str) -> str | None:
    value = payload.get(key)
    if value is None or isinstance(value, str):
        return value
    raise invalid(InvalidInput([Problem(key, "a text is expected")]))


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "20")
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= PAGE:
        raise invalid(InvalidInput([Problem("limit", f"a number from 1 to {PAGE} is expected")]))
    return int(text)


def _written(value: Any, status: int = 200) -> Response:
    try:
        return reply(value, status=status)
    except Unserialisable as error:
        raise unserialisable(error) from error
