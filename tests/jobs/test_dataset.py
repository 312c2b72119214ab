"""Rated traces of the stack's MLflow become rows, without what must not be learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinkube.errors import DataInvalid, UsageError
from thinkube.services.clients import mlflow
from thinkube.services.state import State
from thinkube.training.data import rows_of
from thinkube.training.dataset import from_traces
from thinkube.training.redact import redact
from thinkube.training.rows import check

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("ask ada.lovelace+x@mail.example.org now", "ask [EMAIL] now"),
        (f"pay with {CARD}.", "pay with [CARD]."),
        ("order 4111 1111 1111 1112 stays", "order 4111 1111 1111 1112 stays"),
        ("from 192.168.0.17 and fe80::1ff:fe23:4567:890a", "from [IP] and [IP]"),
        ("version 1.2.3 of 999.1.1.1", "version 1.2.3 of 999.1.1.1"),
        ("call +49 171 1234567 or (030) 901820", "call [PHONE] or [PHONE]"),
        ("call 415-555-0132", "call [PHONE]"),
        ("to DE89 3704 0044 0532 0130 00", "to [IBAN]"),
        ("key AKIAIOSFODNN7EXAMPLE here", "key [SECRET] here"),
        (
            "the year 2026, 12:30:45, 3.14159 and 1000000 rows",
            "the year 2026, 12:30:45, 3.14159 and 1000000 rows",
        ),
    ],
)
def test_personal_data_and_credentials_are_replaced_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact(text)[0] == clean


def test_a_password_in_an_address_goes_before_the_address() -> None:
    assert "hunter22secret" not in redact("postgres://ada:hunter22secret@db.example.org/x")[0]


def test_rated_traces_become_rows(stack: State, tmp_path: Path) -> None:
    assert stack
    library = mlflow()
    library.set_experiment("flywheel")

    def trace(inputs: Any, outputs: Any) -> str:
        with library.start_span("agent") as span:
            span.set_inputs(inputs)
            span.set_outputs(outputs)
        return str(span.trace_id)

    good = trace({"question": "Which module reads CSV? I am ada@example.org"}, "csv")
    again = trace({"question": "Which module reads CSV? I am bob@example.org"}, "csv")
    low = trace({"question": "Which module reads JSON?"}, "yaml")
    mended = trace(
        {"messages": [{"role": "user", "content": "And SQLite?"}]}, {"messages": [["ai", "mysql"]]}
    )
    trace({"question": "Nobody rated this"}, "so it stays out")
    odd = trace({"numbers": [1, 2]}, {"sum": 3})
    library.flush_trace_async_logging()
    for each, value in ((good, True), (again, True), (low, False), (odd, True)):
        library.log_feedback(trace_id=each, name="helpful", value=value)
    library.log_expectation(trace_id=mended, name="expected_response", value="sqlite3")

    rows = from_traces("flywheel", rating="helpful")

    assert {(row["messages"][-2]["content"], row["messages"][-1]["content"]) for row in rows} == {
        ("Which module reads CSV? I am [EMAIL]", "csv"),
        ("And SQLite?", "sqlite3"),
    }
    assert {row["trace"] for row in rows} <= {good, again, mended}
    assert rows.replaced == {"EMAIL": 2}
    assert rows.left_out == {
        "the same again": 1,
        "rated low": 1,
        "without a rating": 1,
        "no question with an answer": 1,
    }
    written = rows.to_jsonl(tmp_path / "review.jsonl")
    assert [json.loads(line) for line in written.read_text().splitlines()] == list(rows)
    found, source = rows_of(str(written))
    assert len(check(found, {}, source).rows) == 2
    found, source = rows_of(rows)
    assert len(check(found, {}, source).rows) == 2
    with pytest.raises(DataInvalid, match="without a rating"):
        from_traces("flywheel", rating="never given", limit=1)
    with pytest.raises(UsageError, match="no experiment 'nowhere'"):
        from_traces("nowhere")
