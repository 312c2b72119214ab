"""`tk.dataset`: a deployed agent's rated traces become the rows that its next model learns from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from thinkube.model.errors import DataInvalid, UsageError
from thinkube.training.redact import redact

EXPECTED = ("expected_response", "expected_output", "expected")
_ROLES = {"human": "user", "ai": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_TEXTS = (
    "question",
    "query",
    "prompt",
    "input",
    "text",
    "message",
    "content",
    "answer",
    "output",
    "response",
)


@dataclass(frozen=True)
class TraceRows(Sequence[Mapping[str, Any]]):
    """Rows for `tk.finetune`, each with the `trace` it came from.

    Attributes:
        rows: chats, personal data and credentials replaced.
        left_out: why traces gave no row, and how many.
        replaced: what was replaced, and how often.
    """

    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    left_out: Mapping[str, int]
    replaced: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def to_jsonl(self, path: str | Path) -> Path:
        """Write them for review: a line a row. What is left in the file is what `tk.finetune` takes."""
        target = Path(path)
        lines = (json.dumps(dict(row), ensure_ascii=False) + "\n" for row in self.rows)
        target.write_text("".join(lines), encoding="utf-8")
        return target


def from_traces(
    experiment: str, *, rating: str | None = None, at_least: float = 1.0, limit: int = 10_000
) -> TraceRows:
    """The traces that people rated well, or corrected, as rows to learn from.

    A correction (an expectation named `expected_response`) takes the place of the answer. Of several ratings
    each has to be good. The same question with the same answer is there once.

    Args:
        experiment: MLflow's, which a deployed agent has its traces in.
        rating: the name of the feedback that counts; any if not given.
        at_least: the lowest good value; true counts 1 and false 0.
        limit: traces to look at, newest first.

    Raises:
        UsageError: there is no such experiment.
        DataInvalid: no trace of it gives a row; says why.
        ServiceError: MLflow can't be used.

    Example:
        rows = tk.dataset.from_traces("docs-agent", rating="helpful")
        rows.to_jsonl("review.jsonl")
        tk.finetune("Qwen/Qwen3-0.6B", rows, name="docs")
    """
    left: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    kept: dict[str, Mapping[str, Any]] = {}
    for trace in _traces(experiment, limit):
        reason = _bad(trace, rating, at_least)
        messages = _messages(trace) if reason is None else None
        if reason is None and messages is None:
            reason = "no question with an answer"
        if messages is None:
            left[str(reason)] += 1
            continue
        clean, found = _clean(messages)
        replaced += found
        mark = sha256(json.dumps(clean).encode()).hexdigest()
        if mark in kept:
            left["the same again"] += 1
        kept.setdefault(mark, {"messages": clean, "trace": trace.info.trace_id})
    if not kept:
        told = ", ".join(f"{count} {reason}" for reason, count in left.items()) or "it has none"
        raise DataInvalid(
            f"No trace of the experiment {experiment!r} gives a row: {told}.",
            "Rate traces in MLflow's page or with mlflow.log_feedback, and look at `rating` and `at_least`.",
        )
    return TraceRows(tuple(kept.values()), MappingProxyType(dict(left)), MappingProxyType(dict(replaced)))


def _traces(experiment: str, limit: int) -> Iterator[Any]:
    from thinkube.services.tracking import mlflow

    client = mlflow().MlflowClient()
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise UsageError(
            f"MLflow has no experiment {experiment!r}.", "`tk.mlflow().search_experiments()` lists them."
        )
    token, seen = None, 0
    while seen < limit:
        page = client.search_traces(
            locations=[found.experiment_id], max_results=min(limit - seen, 100), page_token=token
        )
        yield from page
        seen, token = seen + len(page), page.token
        if not token:
            return


def _bad(trace: Any, rating: str | None, at_least: float) -> str | None:
    """Why a trace is not to be learnt from."""
    if str(getattr(trace.info.state, "value", trace.info.state)) != "OK":
        return "failed"
    if _expected(trace) is not None:
        return None
    scores = [
        _score(each.value)
        for each in trace.info.assessments
        if getattr(each, "feedback", None) is not None and rating in (None, each.name)
    ]
    known = [score for score in scores if score is not None]
    if not known:
        return "without a rating"
    return None if min(known) >= at_least else "rated low"


def _score(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    words = {"yes": 1.0, "true": 1.0, "good": 1.0, "no": 0.0, "false": 0.0, "bad": 0.0}
    return words.get(value.strip().lower()) if isinstance(value, str) else None


def _expected(trace: Any) -> str | None:
    for each in trace.info.assessments:
        if getattr(each, "expectation", None) is not None and each.name in EXPECTED:
            return _text(each.value)
    return None


def _messages(trace: Any) -> list[dict[str, str]] | None:
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    if root is None:
        return None
    asked = _conversation(root.inputs)
    answer = _expected(trace) or _answer(root.outputs)
    if not asked or not answer or asked[-1]["role"] != "user":
        return None
    return [*asked, {"role": "assistant", "content": answer}]


def _conversation(inputs: Any) -> list[dict[str, str]]:
    listed = inputs.get("messages") if isinstance(inputs, dict) else inputs
    if isinstance(listed, list):
        turns = [_turn(each) for each in listed]
        return [turn for turn in turns if turn] if all(turns) else []
    text = _text(inputs)
    return [{"role": "user", "content": text}] if text else []


def _turn(message: Any) -> dict[str, str] | None:
    if isinstance(message, list | tuple) and len(message) == 2:
        message = {"role": message[0], "content": message[1]}
    if not isinstance(message, dict):
        return None
    role, content = _ROLES.get(str(message.get("role") or message.get("type"))), message.get("content")
    return {"role": role, "content": content} if role and isinstance(content, str) and content else None


def _answer(outputs: Any) -> str | None:
    if isinstance(outputs, dict) and isinstance(outputs.get("choices"), list) and outputs["choices"]:
        return _text(outputs["choices"][0].get("message"))
    if isinstance(outputs, dict) and isinstance(outputs.get("messages"), list) and outputs["messages"]:
        last = _turn(outputs["messages"][-1])
        return last["content"] if last and last["role"] == "assistant" else None
    return _text(outputs)


def _text(value: Any) -> str | None:
    """The one text of a value: itself, or that of its only or its plainly named field."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, dict):
        named = [value[name] for name in _TEXTS if isinstance(value.get(name), str)]
        return _text(named[0]) if named else _text(next(iter(value.values()))) if len(value) == 1 else None
    return None


def _clean(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], Counter[str]]:
    total: Counter[str] = Counter()
    clean = []
    for message in messages:
        text, found = redact(message["content"])
        total += found
        clean.append({"role": message["role"], "content": text})
    return clean, total
