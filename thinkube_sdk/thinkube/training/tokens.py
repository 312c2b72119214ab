"""Rows as tokens: what the model reads, and which of it it learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from thinkube.model.errors import DataInvalid
from thinkube.model.recipe import Chat
from thinkube.training.rows import Row

IGNORED = -100


@dataclass(frozen=True)
class Tokens:
    """Rows as token numbers.

    Attributes:
        rows: each with `input_ids` and `labels`; -100 is not learnt.
        total: tokens in all, after truncation.
        learnt: tokens that count in the loss.
        longest: of the rows before truncation.
        truncated: numbers of the rows that were cut, in the order of the data's part, first is 1.
        dropped: rows that had nothing left to learn after that.
    """

    rows: tuple[dict[str, list[int]], ...]
    total: int
    learnt: int
    longest: int
    truncated: tuple[int, ...]
    dropped: int


class Tokenizer:
    """A tokenizer with the recipe's choices.

    Args:
        native: transformers' tokenizer.
        chat: whether plain prompts are put into the chat template.

    Raises:
        DataInvalid: `chat` is `always` and the base has no chat template.
    """

    def __init__(self, native: Any, chat: Chat, max_length: int, completions_only: bool) -> None:
        self.native = native
        self.max_length = max_length
        self._completions_only = completions_only
        has_template = bool(getattr(native, "chat_template", None))
        if chat == "always" and not has_template:
            raise DataInvalid(
                "The base has no chat template.", "Use `chat: auto`, or an instruct model as base."
            )
        self.in_chat = has_template and chat != "never"

    def rows(self, rows: Iterable[Row]) -> Tokens:
        """Tokenize rows, and count."""
        made: list[dict[str, list[int]]] = []
        truncated: list[int] = []
        total = learnt = longest = dropped = 0
        for number, row in enumerate(rows, 1):
            ids, labels = self.row(row)
            longest = max(longest, len(ids))
            if len(ids) > self.max_length:
                truncated.append(number)
                ids, labels = ids[: self.max_length], labels[: self.max_length]
            taught = sum(label != IGNORED for label in labels)
            if not taught:
                dropped += 1
                continue
            total, learnt = total + len(ids), learnt + taught
            made.append({"input_ids": ids, "labels": labels})
        return Tokens(tuple(made), total, learnt, longest, tuple(truncated), dropped)

    def row(self, row: Row) -> tuple[list[int], list[int]]:
        """One row's tokens, and those of them that are learnt."""
        if "text" in row:
            ids = [*self._plain(row["text"], start=True), *self._end()]
            return ids, list(ids)
        if "messages" in row or self.in_chat:
            return self._chat(messages(row))
        before = self._plain(row["prompt"], start=True)
        answer = [*self._plain(row["completion"], start=False), *self._end()]
        return [*before, *answer], [
            *(IGNORED if self._completions_only else token for token in before),
            *answer,
        ]

    def prompt(self, row: Row) -> list[int]:
        """What the model reads before it answers a row."""
        if "messages" in row or self.in_chat:
            return self._template(messages(row)[:-1], answer_next=True)
        return self._plain(row["prompt"], start=True)

    def _chat(self, spoken: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
        ids = self._template(spoken)
        if not self._completions_only:
            return ids, list(ids)
        labels = [IGNORED] * len(ids)
        for number, message in enumerate(spoken):
            if message["role"] != "assistant":
                continue
            before = self._template(spoken[:number], answer_next=True) if number else []
            until = self._template(spoken[: number + 1])
            # Some templates rewrite earlier turns; then only the last one can be told apart.
            if ids[: len(before)] == before and ids[: len(until)] == until:
                labels[len(before) : len(until)] = ids[len(before) : len(until)]
        if all(label == IGNORED for label in labels):
            raise DataInvalid(
                "The base's chat template writes a chat's answer differently after it than before, so that "
                "question and answer can't be told apart.",
                "Train on whole chats: completions_only=False.",
            )
        return ids, labels

    def _template(self, spoken: list[dict[str, Any]], *, answer_next: bool = False) -> list[int]:
        encoded = self.native.apply_chat_template(
            spoken, tokenize=True, add_generation_prompt=answer_next, return_dict=True
        )
        return list(encoded["input_ids"])

    def _plain(self, text: str, *, start: bool) -> list[int]:
        return list(self.native(text, add_special_tokens=start)["input_ids"])

    def _end(self) -> list[int]:
        return [] if self.native.eos_token_id is None else [self.native.eos_token_id]


def messages(row: Row) -> list[dict[str, Any]]:
    """A row as a chat."""
    if "messages" in row:
        return list(row["messages"])
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]


def answer(row: Row) -> str:
    """What a row says should be answered."""
    return str(messages(row)[-1]["content"])
