"""The ASGI application: `/v1/models`, `/v1/chat/completions`, `/healthz`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from thinkube.inference.engine import Engine, Full, Wish
from thinkube.inference.request import messages_of, prompt_of, wish_of
from thinkube.serving.wire import Refused, decode, reply, sse

BODY_BYTES = 10 * 2**20


@dataclass(frozen=True)
class Served:
    """A loaded model under its name.

    Attributes:
        encode: a row's tokens before its answer, as in the training.
        window: tokens it can hold.
    """

    name: str
    engine: Engine
    encode: Callable[[dict[str, Any]], list[int]]
    window: int


def application(served: Served) -> Starlette:
    """Build the application around a loaded model."""

    async def models(_request: Request) -> Response:
        entry = {"id": served.name, "object": "model", "created": 0, "owned_by": "thinkube"}
        return reply({"object": "list", "data": [entry]})

    async def healthz(_request: Request) -> Response:
        return reply({"status": "ok"})

    async def chat(request: Request) -> Response:
        payload = decode(await _body(request))
        if not isinstance(payload, dict):
            raise Refused(400, "invalid_request_error", "An object with messages is expected.")
        if payload.get("model") not in (None, served.name):
            message = f"There is no model {payload['model']!r} here; this is {served.name}."
            raise Refused(404, "model_not_found", message, param="model")
        prompt = await asyncio.to_thread(prompt_of, messages_of(payload), served.encode)
        wish = wish_of(payload, prompt, served.window)
        pieces = _pieces(served.engine, wish)
        first = await anext(pieces)  # a refusal is known before a stream begins
        if payload.get("stream"):
            usage = bool((payload.get("stream_options") or {}).get("include_usage"))
            events = _events(served.name, wish, first, pieces, usage)
            return StreamingResponse(events, media_type="text/event-stream")
        return await _whole(request, served.name, wish, first, pieces)

    return Starlette(
        routes=[
            Route("/v1/models", models),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/healthz", healthz),
        ],
        exception_handlers={Refused: _refused, HTTPException: _http_error},
    )


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            raise Refused(413, "request_too_large", f"A request may have {BODY_BYTES} bytes.")
    return body


async def _pieces(engine: Engine, wish: Wish) -> AsyncIterator[tuple[str, str | None, int]]:
    """Pieces of the answer; with the last one why it ended, and always how many tokens it has."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[str, str | None, Exception | None]] = asyncio.Queue()

    def told(piece: str, why: str | None, error: Exception | None) -> None:
        loop.call_soon_threadsafe(arrived.put_nowait, (piece, why, error))

    try:
        answer = engine.ask(wish, told)
    except Full as error:
        message = "Too many requests wait for this model."
        raise Refused(429, "rate_limit_exceeded", message, headers={"retry-after": "1"}) from error
    try:
        why = None
        while why is None:
            piece, why, failure = await arrived.get()
            if failure is not None:
                message = f"The model failed: {type(failure).__name__}: {failure}"
                raise Refused(500, "server_error", message) from failure
            yield piece, why, len(answer.tokens)
    finally:
        answer.cancelled.set()  # a client that has gone takes no more turns


async def _whole(
    request: Request,
    name: str,
    wish: Wish,
    first: tuple[str, str | None, int],
    pieces: AsyncIterator[tuple[str, str | None, int]],
) -> Response:
    text, why, count = first
    async for piece, why, count in pieces:  # noqa: B007 - the last piece says them
        text += piece
        if await request.is_disconnected():
            await pieces.aclose()  # type: ignore[attr-defined]
            return Response(status_code=499)
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": why, "logprobs": None}
    return reply({**_head(name, "chat.completion"), "choices": [choice], "usage": _usage(wish, count)})


async def _events(
    name: str,
    wish: Wish,
    first: tuple[str, str | None, int],
    pieces: AsyncIterator[tuple[str, str | None, int]],
    usage: bool,
) -> AsyncIterator[bytes]:
    head = _head(name, "chat.completion.chunk")

    def chunk(delta: Mapping[str, str], why: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": why, "logprobs": None}
        return sse(None, {**head, "choices": [choice]})

    try:
        yield chunk({"role": "assistant", "content": first[0]})
        _, why, count = first
        async for piece, why, count in pieces:  # noqa: B007 - the last piece says them
            if piece:
                yield chunk({"content": piece})
        yield chunk({}, why)
        if usage:
            yield sse(None, {**head, "choices": [], "usage": _usage(wish, count)})
        yield b"data: [DONE]\n\n"
    except Refused as error:
        yield sse(None, error.body(""))
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]


def _head(name: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{os.urandom(12).hex()}", "object": kind, "created": int(time.time()), "model": name,
    }  # fmt: skip


def _usage(wish: Wish, count: int) -> dict[str, int]:
    asked = len(wish.prompt)
    return {"prompt_tokens": asked, "completion_tokens": count, "total_tokens": asked + count}


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return reply(error.body(""), error.headers, error.status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "not_found" if error.status_code == 404 else "invalid_request_error"
    message = f"{request.method} {request.url.path}: {error.detail}"
    return reply(Refused(error.status_code, kind, message).body(""), error.headers, error.status_code)
