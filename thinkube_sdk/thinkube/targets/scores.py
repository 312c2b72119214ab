"""Questions with expected answers, and how an answer is scored."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinkube.model.errors import UsageError
from thinkube.training.data import rows_of

Metric = Callable[[Any, Any], float]

_GIVEN = ("input", "inputs", "question", "prompt")
_EXPECTED = ("expected", "expectations", "expected_output", "expected_response", "answer", "completion")
_PARTS = ("answer", "output", "response", "result", "reply", "text", "content")
_LONG = 120


@dataclass(frozen=True)
class Question:
    """One row of a dataset.

    Attributes:
        given: the input, as `deployment.invoke` takes it.
        expected: what the answer should be.
    """

    given: Any
    expected: Any


@dataclass(frozen=True)
class Score:
    """One answer. `error` is why there is none."""

    question: Question
    output: Any
    values: Mapping[str, float]
    error: str = ""

    def __str__(self) -> str:
        answer = self.error or _short(text_of(self.output))
        return f"{_short(self.question.given)} → {answer} (expected {_short(self.question.expected)})"


def questions_of(data: Any) -> tuple[Question, ...]:
    """Read a dataset: dicts, a DataFrame, a Hugging Face or MLflow dataset, or a file's path.

    A row has an `input` and what is `expected`; MLflow's `inputs` and `expectations`, and `question` and
    `answer`, are read too.

    Raises:
        UsageError: a row has not; says which.
        DataInvalid: the file can't be read.
    """
    rows, source = rows_of(data)
    questions = tuple(_question(row, number, source) for number, row in enumerate(rows, 1))
    if not questions:
        raise UsageError(f"{source} has no rows to evaluate on.", "Give at least one question.")
    return questions


def _question(row: Mapping[str, Any], number: int, source: str) -> Question:
    given = next((name for name in _GIVEN if name in row), None)
    expected = next((name for name in _EXPECTED if name in row and name != given), None)
    if given is None or expected is None:
        missing = "input" if given is None else "expected"
        raise UsageError(
            f"Row {number} of {source} has no `{missing}`; its columns are {', '.join(map(str, row))}.",
            'A row is {"input": what the agent is called with, "expected": what it should answer}.',
        )
    return Question(row[given], row[expected])


def metrics_of(chosen: Sequence[str | Callable[..., float]]) -> dict[str, Metric]:
    """Metrics by name: `exact_match`, `contains`, or functions of your own `(output, expected) -> number`.

    Raises:
        UsageError: there is no metric of that name.
    """
    found: dict[str, Metric] = {}
    for each in chosen:
        if callable(each):
            found[getattr(each, "__name__", type(each).__name__)] = each
        elif each in METRICS:
            found[each] = METRICS[each]
        else:
            raise UsageError(
                f"There is no metric {each!r}.", f"There is {', '.join(METRICS)}; or give a function."
            )
    return found


def exact_match(output: Any, expected: Any) -> float:
    """1 if the answer's text is the expected one, but for case, spaces and a full stop.

    Example:
        >>> exact_match({"answer": " Paris."}, "paris"), exact_match("Lyon", "Paris")
        (1.0, 0.0)
    """
    if output == expected:
        return 1.0
    return float(_plain(text_of(output)) == _plain(text_of(expected)))


def contains(output: Any, expected: Any) -> float:
    """1 if the expected text, or each text of a list, stands in the answer's."""
    wanted: Iterable[Any] = expected if isinstance(expected, list | tuple) else [expected]
    answer = _plain(text_of(output))
    return float(all(_plain(text_of(each)) in answer for each in wanted))


METRICS: Mapping[str, Metric] = {"exact_match": exact_match, "contains": contains}


def text_of(output: Any) -> str:
    """The text of an answer: itself, its last message's, or its field with an answer's name."""
    if isinstance(output, Mapping):
        messages = output.get("messages")
        if isinstance(messages, list) and messages:
            return text_of(messages[-1])
        part = next((output[name] for name in _PARTS if name in output), None)
        return str(dict(output)) if part is None else text_of(part)
    return str(output)


def same(one: float, other: float) -> bool:
    """Whether two means are the same but for rounding."""
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().rstrip(".").casefold()


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
