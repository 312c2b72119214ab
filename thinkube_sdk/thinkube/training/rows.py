"""Rows as the trainer wants them: recognised by their columns, checked, refused with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from thinkube.model.errors import DataInvalid

Kind = Literal["chat", "completion", "text"]
Row = dict[str, Any]

# What well-known data sets call these columns.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation"),
    "prompt": ("prompt", "instruction", "question", "input"),
    "completion": ("completion", "response", "output", "answer"),
    "text": ("text",),
}
_NEEDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("chat", ("messages",)),
    ("completion", ("prompt", "completion")),
    ("text", ("text",)),
)
_ROLES = ("system", "user", "assistant", "tool")
_OTHER_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "developer": "system",
}
_SHOWN = 5


@dataclass(frozen=True)
class Rows:
    """Rows of one kind.

    Attributes:
        kind: `chat` rows have `messages`; `completion` rows `prompt` and `completion`; `text` rows `text`.
        rows: with exactly those columns.
    """

    kind: Kind
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)


def check(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], source: str = "the data") -> Rows:
    """Recognise what kind of rows these are, and check every one. The first row has number 1.

    Args:
        columns: our column name to the data's, where the data has names of its own.
        source: what the rows came from, for the message.

    Raises:
        DataInvalid: no rows, a missing column, an empty text, a wrong role, a one-sided chat.

    Example:
        >>> check([{"question": "2+2?", "answer": "4"}], {}).kind
        'completion'
    """
    listed = list(rows)
    if not listed:
        raise DataInvalid(f"There are no rows in {source}.", "Give at least one row.")
    for number, row in enumerate(listed, 1):
        if not isinstance(row, Mapping):
            raise DataInvalid(
                f"Row {number} of {source} is not a row but {_type(row)}.",
                "Give each row as an object: {'prompt': …, 'completion': …} or {'messages': […]}.",
            )
    kind, names = _kind(listed, columns, source)
    checked: list[Row] = []
    wrong: list[tuple[int, str]] = []
    for number, row in enumerate(listed, 1):
        try:
            checked.append(_SHAPES[kind](row, names))
        except _Wrong as error:
            wrong.append((number, str(error)))
    if wrong:
        raise _refusal(wrong, len(listed), source)
    return Rows(kind, tuple(checked))


class _Wrong(Exception):
    """Why one row can't be used."""


def _kind(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], source: str
) -> tuple[Kind, dict[str, str]]:
    unknown = [name for name in columns if name not in _ALIASES]
    if unknown:
        raise DataInvalid(
            f"`columns` names {', '.join(map(repr, unknown))}, which no kind of rows has.",
            f"Known are: {', '.join(_ALIASES)}.",
        )
    there = set().union(*(row.keys() for row in rows[:100]))
    for ours, theirs in columns.items():
        if theirs not in there:
            raise DataInvalid(
                f"`columns` says {ours} is {theirs!r}; {source} has {', '.join(sorted(map(str, there)))}.",
                "Name a column that is there.",
            )
    found: dict[str, str] = {}
    for name, aliases in _ALIASES.items():
        hit = columns.get(name) or next((alias for alias in aliases if alias in there), None)
        if hit:
            found[name] = hit
    for kind, needed in _NEEDS:
        if all(name in found for name in needed):
            return kind, found
    partly = [
        needed
        for _, needed in sorted(_NEEDS, key=lambda each: len(each[1]))
        if any(name in found for name in needed)
    ]
    have = ", ".join(sorted(map(str, there))) or "none"
    if partly:
        missing = " and ".join(f"`{name}`" for name in partly[0] if name not in found)
        cause = f"{source} has the columns {have}; {missing} is missing."
    else:
        cause = f"{source} has the columns {have}, which is no kind of training rows."
    raise DataInvalid(
        cause[0].upper() + cause[1:],
        "Rows have `messages`, or `prompt` and `completion`, or `text`. "
        "columns={'prompt': 'your column'} says which is which.",
    )


def _chat(row: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    messages = _messages(row.get(names["messages"]), names["messages"])
    if messages[-1]["role"] != "assistant":
        raise _Wrong(f"the chat is one-sided: it ends with the {messages[-1]['role']}, not the assistant")
    if not any(message["role"] in ("user", "tool") for message in messages):
        raise _Wrong("the chat is one-sided: only the assistant speaks")
    return {"messages": messages}


def _completion(row: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    prompt = row.get(names["prompt"])
    answer = row.get(names["completion"])
    if isinstance(prompt, list) or isinstance(answer, list):
        before = _messages(prompt, names["prompt"])
        return _chat(
            {"messages": [*before, *_messages(answer, names["completion"])]}, {"messages": "messages"}
        )
    return {
        "prompt": _text(prompt, names["prompt"]),
        "completion": _text(answer, names["completion"]),
    }


def _plain(row: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    return {"text": _text(row.get(names["text"]), names["text"])}


_SHAPES: Mapping[Kind, Callable[[Mapping[str, Any], Mapping[str, str]], Row]] = {
    "chat": _chat,
    "completion": _completion,
    "text": _plain,
}


def _messages(value: Any, column: str) -> list[dict[str, Any]]:
    # pyarrow and pandas hand lists over as arrays.
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None:
        raise _Wrong(f"`{column}` is missing")
    if not isinstance(value, list):
        raise _Wrong(f"`{column}` is {_type(value)}, not a list of messages")
    if not value:
        raise _Wrong(f"`{column}` is empty")
    return [_message(message, number) for number, message in enumerate(value, 1)]


def _message(message: Any, number: int) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise _Wrong(f"message {number} is {_type(message)}, not an object with role and content")
    given = message.get("role", message.get("from"))
    role = _OTHER_ROLES.get(str(given), given)
    if role not in _ROLES:
        raise _Wrong(f"message {number} has the role {given!r}; roles are {', '.join(_ROLES)}")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        parts = [
            part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"
        ]
        if len(parts) != len(content):
            raise _Wrong(f"message {number} has parts that are not text")
        content = "".join(map(str, parts))
    calls = message.get("tool_calls")
    if calls is None or len(calls) == 0:
        return {"role": role, "content": _text(content, f"message {number}'s content")}
    return {"role": role, "content": content or "", "tool_calls": list(calls)}


def _text(value: Any, column: str) -> str:
    # NaN is how pandas says that a cell is empty.
    if value is None or value != value:
        raise _Wrong(f"`{column}` is missing")
    if not isinstance(value, str):
        raise _Wrong(f"`{column}` is {_type(value)}, not text")
    if not value.strip():
        raise _Wrong(f"`{column}` is empty")
    return value


def _type(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _refusal(wrong: Sequence[tuple[int, str]], of: int, source: str) -> DataInvalid:
    lines = [f"  row {number}: {reason}" for number, reason in wrong[:_SHOWN]]
    if len(wrong) > _SHOWN:
        lines.append(f"  and {len(wrong) - _SHOWN} more")
    rows = "1 row" if len(wrong) == 1 else f"{len(wrong)} rows"
    return DataInvalid(
        f"{rows} of {of} in {source} can't be trained on:\n" + "\n".join(lines),
        "Correct or remove these rows.",
    )
