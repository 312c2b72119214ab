"""OpenAI chat messages to an agent's input, and an agent's output to the text of an answer.

The rule, in order:

1. An input that takes messages (a `messages` channel, a runnable on messages, a parameter `messages`)
   gets the whole conversation.
2. An input with a text part (`Shape.text`) gets the last user message there, and what came before as
   `chat_history` or `history` where it has such a field.
3. Anything else can't be asked through chat, and says so.

The answer is the text itself, a message's content, the last of `messages`, or of an object the field
`answer`, `output`, `response`, … or its only text; else the output as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinkube.serving.shapes import InvalidInput, Problem, Shape

ANSWERS = ("answer", "output", "response", "result", "reply", "text", "content")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def input_of(messages: Any, shape: Shape) -> Any:
    """Map a conversation to what the agent takes.

    Raises:
        InvalidInput: the messages are malformed, or the agent takes nothing that is text.
    """
    checked = _checked(messages)
    if shape.messages is not None:
        conversation = [{**m, "role": "system"} if m["role"] == "developer" else m for m in checked]
        return shape.validate({shape.messages: conversation})
    if shape.text is None:
        raise InvalidInput(
            [
                Problem(
                    "messages", f"this agent takes no text; call /invoke with {shape.known}. /docs shows how"
                )
            ]
        )
    last = next((n for n in reversed(range(len(checked))) if checked[n]["role"] == "user"), None)
    if last is None:
        raise InvalidInput([Problem("messages", "there is no message with the role user")])
    values: dict[str, Any] = {shape.text: text_of_content(checked[last].get("content"))}
    if shape.history is not None and shape.history != shape.text:
        values[shape.history] = checked[:last]
    return shape.validate(values)


def _checked(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise InvalidInput([Problem("messages", "a list of at least one message is expected")])
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidInput(
                [Problem(f"messages[{number}]", "an object with role and content is expected")]
            )
        if message.get("role") not in ROLES:
            raise InvalidInput(
                [Problem(f"messages[{number}].role", f"one of {', '.join(ROLES)} is expected")]
            )
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidInput(
                [Problem(f"messages[{number}].content", "a text or a list of parts is expected")]
            )
    return messages


def since_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is new in a conversation whose earlier part a thread already holds.

    Example:
        >>> chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        >>> since_answer([*chat, {"role": "user", "content": "c"}])
        [{'role': 'user', 'content': 'c'}]
    """
    last = max((n for n, each in enumerate(messages) if each["role"] == "assistant"), default=-1)
    new = messages[last + 1 :]
    return [each for each in new if each["role"] not in ("system", "developer")] or messages[-1:]


def answer_of(output: Any) -> str | None:
    """The text of an answer; None where the output has no part that is plainly the answer."""
    if isinstance(output, str):
        return output
    if hasattr(output, "content"):
        return text_of_message(output)
    if isinstance(output, Mapping):
        messages = output.get("messages")
        if isinstance(messages, Sequence) and not isinstance(messages, str) and messages:
            return text_of_message(messages[-1])
        texts = {key: value for key, value in output.items() if isinstance(value, str)}
        named = next((texts[name] for name in ANSWERS if name in texts), None)
        return named if named is not None else (next(iter(texts.values())) if len(texts) == 1 else None)
    return None


def text_of_message(message: Any) -> str:
    """The text of a message or message chunk, an OpenAI message object or a string; else nothing."""
    if isinstance(message, str):
        return message
    content = message.get("content") if isinstance(message, Mapping) else getattr(message, "content", None)
    return text_of_content(content)


def text_of_content(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (
        part if isinstance(part, str) else part.get("text", "")
        for part in content
        if isinstance(part, str | dict)
    )
    return "".join(part for part in parts if isinstance(part, str))
