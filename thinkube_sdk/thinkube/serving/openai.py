"""The OpenAI paths: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from thinkube.serving.auth import person
from thinkube.serving.chat import answer_of, input_of, since_answer, text_of_message
from thinkube.serving.log import trace_id
from thinkube.serving.native import SSE_HEADERS, Asked
from thinkube.serving.runtime import Runtime, unserialisable
from thinkube.serving.shapes import ABSENT, InvalidInput, Problem
from thinkube.serving.thread_requests import state_of, turn_of
from thinkube.serving.thread_saver import INTERRUPT
from thinkube.serving.thread_state import interrupts_of
from thinkube.serving.wire import Refused, Unserialisable, decode, encode, invalid, reply, sse


async def models(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    model = {"id": runtime.name, "object": "model", "created": 0, "owned_by": "thinkube"}
    return reply({"object": "list", "data": [model]})


async def chat_completions(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    payload = decode(await runtime.body(request))
    if not isinstance(payload, dict):
        raise invalid(InvalidInput([Problem("body", "an object with messages is expected")]))
    call = await _asked(runtime, request, payload)
    if payload.get("stream"):
        chunks = _chunks(runtime, call, _usage_wanted(payload))
        return StreamingResponse(chunks, media_type="text/event-stream", headers=SSE_HEADERS)
    output = await runtime.run(request, call.given, call.values, call.session, call.user, call.turn)
    try:
        return reply(_completion(runtime, output))
    except Unserialisable as error:
        raise unserialisable(error) from error


async def _asked(runtime: Runtime, request: Request, payload: dict[str, Any]) -> Asked:
    """A conversation as what is asked of the agent, and of its thread if it goes on there."""
    session = _text(payload.get("session") or request.headers.get("x-session-id"), "session")
    user = _text(payload.get("user") or request.headers.get("x-user-id") or person(request.scope), "user")
    parts: dict[str, Any] = {key: payload[key] for key in ("thread_id", "if_busy") if key in payload}
    turn = turn_of(runtime, parts, request.headers.get("x-thread-id"), session)
    messages: Any = payload.get("messages")
    try:
        values = input_of(messages, runtime.agent.takes)
        if turn is not None and (position := await state_of(runtime.agent, turn.thread)) is not None:
            messages = since_answer(messages)
            if position.interrupts:
                turn, values = replace(turn, resume=text_of_message(messages[-1])), ABSENT
            else:
                values = input_of(messages, runtime.agent.takes)
    except InvalidInput as error:
        raise invalid(error) from error
    return Asked(messages, values, session or (turn.thread if turn else None), user, turn)


def _text(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise invalid(InvalidInput([Problem(name, "a text is expected")]))


def _usage_wanted(payload: Mapping[str, Any]) -> bool:
    options = payload.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _completion(runtime: Runtime, output: Any) -> dict[str, Any]:
    completion: dict[str, Any] = {
        "id": f"chatcmpl-{trace_id.get()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": runtime.name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": _answer(output)},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }
    usage = _usage(output)
    return {**completion, "usage": usage} if usage else completion


def _answer(output: Any) -> str:
    if isinstance(output, Mapping) and INTERRUPT in output:
        asked = [each["value"] for each in interrupts_of(output[INTERRUPT])]
        return "\n\n".join(each if isinstance(each, str) else encode(each).decode() for each in asked)
    answer = answer_of(output)
    return encode(output).decode() if answer is None else answer


def _usage(output: Any) -> dict[str, int] | None:
    """Tokens of the answering message, where the model told them."""
    messages = output.get("messages") if isinstance(output, Mapping) else None
    last = messages[-1] if isinstance(messages, list) and messages else output
    counted = getattr(last, "usage_metadata", None)
    if not isinstance(counted, Mapping):
        return None
    return {
        "prompt_tokens": int(counted.get("input_tokens", 0)),
        "completion_tokens": int(counted.get("output_tokens", 0)),
        "total_tokens": int(counted.get("total_tokens", 0)),
    }


async def _chunks(runtime: Runtime, call: Asked, usage_wanted: bool) -> AsyncIterator[bytes]:
    trace, created = trace_id.get() or "", int(time.time())

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{trace}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": runtime.name,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}],
        }

    said = ""
    try:
        yield sse(None, chunk({"role": "assistant", "content": ""}))
        async for happened in runtime.events(
            call.given, call.values, call.session, call.user, ("messages",), call.turn
        ):
            if happened is None:
                yield b": still running\n\n"
                continue
            text = _rest(said, _answer(happened.data)) if happened.kind == "output" else happened.text
            if text:
                said += text
                yield sse(None, chunk({"content": text}))
            if happened.kind == "output":
                yield sse(None, chunk({}, "stop"))
                if usage_wanted:
                    yield sse(None, {**chunk({}), "choices": [], "usage": _usage(happened.data)})
        yield b"data: [DONE]\n\n"
    except Unserialisable as error:
        yield sse(None, unserialisable(error).body(trace))
    except Refused as error:
        yield sse(None, error.body(trace))


def _rest(said: str, answer: str) -> str:
    """What of the answer has not been streamed yet.

    An agent may stream a model's words and answer with more than these, or with something else.

    Example:
        >>> _rest("Zip pairs", "Zip pairs [zip]"), _rest("thinking... 42", "42"), _rest("42", "It is 42.")
        (' [zip]', '', '\\n\\nIt is 42.')
    """
    if answer.startswith(said):
        return answer[len(said) :]
    return "" if said.endswith(answer) else f"\n\n{answer}"
