"""An OpenAI request, checked, as what the engine is to generate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thinkube.inference.engine import Wish
from thinkube.serving.wire import Refused

LONGEST = 512
_ROLES = ("system", "developer", "user", "assistant")
# What would change the answer and is not done here is refused, never ignored.
_NOT_HERE = ("tools", "functions", "response_format", "logprobs", "frequency_penalty", "presence_penalty")


def messages_of(payload: Mapping[str, Any]) -> list[dict[str, str]]:
    """The chat of a request.

    Raises:
        Refused: it is no chat; names the part.
    """
    given = payload.get("messages")
    if not isinstance(given, list) or not given:
        raise _wrong("messages", "a list with at least one message is expected")
    return [_message(each, f"messages[{number}]") for number, each in enumerate(given)]


def wish_of(payload: Mapping[str, Any], prompt: list[int], window: int) -> Wish:
    """What is to be generated.

    Args:
        prompt: token numbers.
        window: tokens the model can hold.

    Raises:
        Refused: a value is wrong, or not done here, or the prompt fills the model's window.
    """
    for name in _NOT_HERE:
        if payload.get(name) not in (None, 0, False, [], {"type": "text"}):
            raise _wrong(name, "is not offered by this server", code="unsupported_parameter")
    if payload.get("n") not in (None, 1):
        raise _wrong("n", "only one answer a request is offered here", code="unsupported_parameter")
    if len(prompt) >= window:
        message = f"the prompt has {len(prompt)} tokens, and the model holds {window}"
        raise _wrong("messages", message, code="context_length_exceeded")
    longest = _number(payload, "max_completion_tokens", _number(payload, "max_tokens", LONGEST, 1), 1)
    stop = payload.get("stop") or []
    several = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else (None,)
    if not all(isinstance(each, str) and each for each in several):
        raise _wrong("stop", "a text or a list of texts is expected")
    seed = payload.get("seed")
    return Wish(
        prompt=tuple(prompt),
        longest=min(int(longest), window - len(prompt)),
        temperature=_number(payload, "temperature", 0.0, 0, 2),
        top_p=_number(payload, "top_p", 1.0, 0, 1, above=True),
        stop=several,
        seed=None if seed is None else int(_number(payload, "seed", 0, -(2**63), 2**63 - 1)),
    )


def prompt_of(chat: list[dict[str, str]], encode: Callable[[dict[str, Any]], list[int]]) -> list[int]:
    """The tokens before the answer, put together as in the training.

    Raises:
        Refused: the model's chat template does not take the chat.
    """
    row: dict[str, Any] = {"messages": [*chat, {"role": "assistant", "content": ""}]}
    try:
        return encode(row)
    except Exception as error:  # the template is the model's own code, and raises what it likes
        raise _wrong("messages", f"the model's chat template does not take them: {error}") from error


def _message(given: Any, place: str) -> dict[str, str]:
    if not isinstance(given, dict) or given.get("role") not in _ROLES:
        raise _wrong(f"{place}.role", f"one of {', '.join(_ROLES)} is expected")
    content = given.get("content")
    if isinstance(content, list):
        texts = [
            each["text"] for each in content if isinstance(each, dict) and isinstance(each.get("text"), str)
        ]
        content = "".join(texts) if len(texts) == len(content) else None
    if not isinstance(content, str):
        raise _wrong(f"{place}.content", "a text is expected; this model reads nothing else")
    return {"role": "system" if given["role"] == "developer" else given["role"], "content": content}


def _number(
    payload: Mapping[str, Any],
    name: str,
    default: float,
    least: float,
    most: float = float("inf"),
    *,
    above: bool = False,
) -> float:
    value = payload.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number is expected")
    if not least <= value <= most or (above and value == least):
        raise _wrong(name, f"{value} is not between {least:g} and {most:g}")
    return value


def _wrong(param: str, message: str, code: str = "invalid_request_error") -> Refused:
    return Refused(400, code, f"{param}: {message}.", param=param)
