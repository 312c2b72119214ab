"""No question is ever on both sides of a split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thinkube.training.rows import Rows
from thinkube.training.split import digest, question, split

ROWS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.text(min_size=1)), min_size=1, max_size=40)


def rows(pairs: list[tuple[str, str]]) -> Rows:
    return Rows("completion", tuple({"prompt": asked, "completion": said} for asked, said in pairs))


@given(ROWS, st.floats(0, 0.99))
def test_never_leaks_and_loses_nothing(pairs: list[tuple[str, str]], fraction: float) -> None:
    parts = split(rows(pairs), fraction)

    assert not {question(row) for row in parts.train} & {question(row) for row in parts.held_out}
    assert digest([*parts.train, *parts.held_out]) == digest(rows(pairs).rows)
    assert parts.train


def test_a_row_stays_on_its_side_when_others_are_added() -> None:
    few = [(f"question {number}", "a") for number in range(200)]
    before = split(rows(few), 0.2)
    after = split(rows([*few, *[(f"another {number}", "a") for number in range(300)]]), 0.2)

    assert set(map(question, before.held_out)) <= set(map(question, after.held_out))
    assert 20 <= len(before.held_out) <= 60


def test_case_and_white_space_ask_the_same() -> None:
    assert question({"prompt": "Where  is it?"}) == question({"prompt": "where is IT?\n"})


def test_holds_at_least_one_row_out_of_few() -> None:
    parts = split(rows([("a", "x"), ("b", "y")]), 0.01)

    assert (len(parts.train), len(parts.held_out)) == (1, 1)


def test_evaluation_data_is_taken_out_of_the_training() -> None:
    parts = split(rows([("a", "x"), ("b", "y"), ("b", "y")]), 0.5, rows([("A", "x")]))

    assert [row["prompt"] for row in parts.train] == ["b", "b"]
    assert (parts.leaked, parts.duplicates, len(parts.held_out)) == (1, 1, 1)
