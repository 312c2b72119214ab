"""A function's parameters are checked against its signature, from Python and from the command line."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from thinkube.errors import UsageError
from thinkube.training.parameters import check, restore


class Size(enum.Enum):
    SMALL = "small"


@dataclass
class Schedule:
    warmup: int
    kind: str = "linear"


def train(
    steps: int,
    rate: float = 0.1,
    *,
    kind: Literal["sgd", "adam"] = "adam",
    layers: tuple[int, ...] = (8, 8),
    out: Path | None = None,
    day: datetime.date | None = None,
    size: Size = Size.SMALL,
    schedule: Schedule | None = None,
    guess=1.5,
    anything: Any = None,
) -> None: ...


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"steps": 3}, {"steps": 3}),
        ({"steps": 3, "rate": 1}, {"steps": 3, "rate": 1.0}),
        ({"steps": 3, "layers": [4, 4]}, {"steps": 3, "layers": [4, 4]}),
        ({"steps": 3, "out": Path("/a")}, {"steps": 3, "out": "/a"}),
        ({"steps": 3, "out": "/a"}, {"steps": 3, "out": "/a"}),
        ({"steps": 3, "day": datetime.date(2026, 1, 2)}, {"steps": 3, "day": "2026-01-02"}),
        ({"steps": 3, "size": Size.SMALL}, {"steps": 3, "size": "small"}),
        ({"steps": 3, "schedule": Schedule(5)}, {"steps": 3, "schedule": {"warmup": 5, "kind": "linear"}}),
        ({"steps": 3, "anything": {"a": [1, None]}}, {"steps": 3, "anything": {"a": [1, None]}}),
    ],
)
def test_values_of_python_survive_as_json(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert check(train, given) == kept
    again = restore(train, kept)
    assert check(train, again) == kept


def test_types_come_back_in_the_other_process() -> None:
    kept = check(train, {"steps": 3, "layers": [4], "out": "/a", "schedule": Schedule(5), "size": Size.SMALL})
    back = restore(train, kept)
    assert back == {
        "steps": 3,
        "layers": (4,),
        "out": Path("/a"),
        "schedule": Schedule(5),
        "size": Size.SMALL,
    }


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({"steps": "3", "rate": "1e-3"}, {"steps": 3, "rate": 1e-3}),
        ({"steps": "3", "layers": "[4, 5]"}, {"steps": 3, "layers": [4, 5]}),
        ({"steps": "3", "kind": "sgd", "out": "a/b"}, {"steps": 3, "kind": "sgd", "out": "a/b"}),
        ({"steps": "3", "guess": "2"}, {"steps": 3, "guess": 2.0}),
        ({"steps": "3", "anything": "word"}, {"steps": 3, "anything": "word"}),
        ({"steps": "3", "anything": '{"a": 1}'}, {"steps": 3, "anything": {"a": 1}}),
        (
            {"steps": "3", "schedule": '{"warmup": 2}'},
            {"steps": 3, "schedule": {"warmup": 2, "kind": "linear"}},
        ),
    ],
)
def test_words_of_a_command_line_are_read_by_type(typed: dict[str, str], kept: dict[str, Any]) -> None:
    assert check(train, typed, texts=True) == kept


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, r"steps \(int\) is missing"),
        ({"steps": 3, "rat": 1.0}, r"there is no 'rat' \(did you mean 'rate'\?\)"),
        ({"steps": "3"}, r"steps: .*valid integer, not '3'"),
        ({"steps": True}, r"steps: .*not True"),
        ({"steps": 3.5}, r"steps: .*not 3.5"),
        ({"steps": 3, "kind": "rmsprop"}, r"kind: .*'sgd' or 'adam'"),
        ({"steps": 3, "layers": ["a"]}, r"layers: \[0\] .*valid integer"),
        ({"steps": 3, "anything": object()}, r"anything: a object can't be handed to another process"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as refusal:
        check(train, given)
    assert "steps: int, rate: float = 0.1" in refusal.value.fix


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(UsageError) as refusal:
        check(train, {"rate": "fast", "stepz": 1})
    assert all(word in refusal.value.cause for word in ("steps (int) is missing", "rate:", "'stepz'"))


def test_further_names_are_handed_on_where_the_function_takes_them() -> None:
    def loose(**settings: object) -> None: ...

    assert check(loose, {"batch": 4}) == {"batch": 4}


def test_parameters_without_a_name_are_refused() -> None:
    def by_place(steps: int, /) -> None: ...

    def rest(*steps: int) -> None: ...

    functions: list[Callable[..., None]] = [by_place, rest]
    for function in functions:
        with pytest.raises(UsageError, match="by position"):
            check(function, {})
