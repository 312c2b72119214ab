"""Generates for several requests by turns, a token each: a short answer does not wait for a long one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

AT_ONCE = 8
WAITING = 64


class Full(Exception):
    """As many requests wait as may."""


@dataclass(frozen=True)
class Wish:
    """What is to be generated.

    Attributes:
        prompt: token numbers.
        longest: tokens at most.
        temperature: 0 takes the likeliest token, as the evaluation does.
        top_p: of the likeliest tokens, those that together are this probable.
        stop: texts that end the answer and are no part of it.
        seed: makes sampling repeatable.
    """

    prompt: tuple[int, ...]
    longest: int
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass
class Answer:
    """One request's answer while it grows. `told` is called, from the engine's thread, with every change."""

    wish: Wish
    told: Callable[[str, str | None, Exception | None], None]
    cancelled: threading.Event = field(default_factory=threading.Event)
    tokens: list[int] = field(default_factory=list)
    said: int = 0
    cache: Any = None
    chance: Any = None


class Engine:
    """One loaded model and the requests that share it.

    Args:
        model: of transformers, with or without an adapter.
        tokenizer: its tokenizer.
        at_once: requests that take turns; further ones wait in the order they came.
        waiting: how many may wait.
    """

    def __init__(self, model: Any, tokenizer: Any, at_once: int = AT_ONCE, waiting: int = WAITING) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer
        self._at_once, self._room = at_once, waiting
        ends = getattr(model.generation_config, "eos_token_id", None)
        several = ends if isinstance(ends, list) else [ends]
        self._ends = {each for each in (*several, tokenizer.eos_token_id) if each is not None}
        self._waiting: deque[Answer] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="generation", daemon=True).start()

    def ask(self, wish: Wish, told: Callable[[str, str | None, Exception | None], None]) -> Answer:
        """Begin an answer.

        Args:
            told: called with each piece of text, at the end with why it ended, or with what went wrong.

        Raises:
            Full: too many wait already.
        """
        answer = Answer(wish, told)
        with self._changed:
            if len(self._waiting) >= self._room:
                raise Full
            self._waiting.append(answer)
            self._changed.notify()
        return answer

    def _work(self) -> None:
        active: list[Answer] = []
        while True:
            with self._changed:
                while not active and not self._waiting:
                    self._changed.wait()
                while self._waiting and len(active) < self._at_once:
                    active.append(self._waiting.popleft())
            active = [answer for answer in active if not answer.cancelled.is_set() and self._goes_on(answer)]

    def _goes_on(self, answer: Answer) -> bool:
        """Generate one token; whether there are more to come."""
        try:
            piece, why = self._step(answer)
        except Exception as error:  # noqa: BLE001 - told to the one who asked; the others go on
            answer.told("", None, error)
            return False
        if piece or why:
            answer.told(piece, why, None)
        return why is None

    def _step(self, answer: Answer) -> tuple[str, str | None]:
        import torch

        given = answer.tokens[-1:] or list(answer.wish.prompt)
        with torch.inference_mode():
            out = self._model(
                input_ids=torch.tensor([given], device=self._model.device),
                past_key_values=answer.cache,
                use_cache=True,
            )
        answer.cache = out.past_key_values
        token = self._choose(out.logits[0, -1].float(), answer)
        ended = token in self._ends
        if not ended:
            answer.tokens.append(token)
        why = "stop" if ended else "length" if len(answer.tokens) >= answer.wish.longest else None
        text = str(self._tokenizer.decode(answer.tokens, skip_special_tokens=True))
        found = [place for each in answer.wish.stop if (place := text.find(each)) >= 0]
        if found:
            text, why = text[: min(found)], "stop"
        # A stop text, or a character, may be only half there yet.
        held = 0 if why else max((len(each) - 1 for each in answer.wish.stop), default=0)
        until = len(text) - held
        if why is None and text.endswith("\N{REPLACEMENT CHARACTER}"):
            until = min(until, len(text.rstrip("\N{REPLACEMENT CHARACTER}")))
        piece = text[answer.said : until] if until > answer.said else ""
        answer.said += len(piece)
        return piece, why

    def _choose(self, logits: Any, answer: Answer) -> int:
        import torch

        wish = answer.wish
        if wish.temperature == 0:
            return int(logits.argmax())
        if answer.chance is None:
            answer.chance = torch.Generator(device=logits.device)
            answer.chance.manual_seed(wish.seed) if wish.seed is not None else answer.chance.seed()
        odds, order = torch.softmax(logits / wish.temperature, -1).sort(descending=True)
        odds[odds.cumsum(-1) - odds >= wish.top_p] = 0
        return int(order[torch.multinomial(odds, 1, generator=answer.chance)])
