"""Which rows are taken, and what is said of those that are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from thinkube.errors import DataInvalid, UsageError
from thinkube.training.data import rows_of
from thinkube.training.rows import check

CHAT = [{"role": "user", "content": "Which module reads CSV?"}, {"role": "assistant", "content": "csv"}]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": CHAT}, "chat"),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "chat"),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "completion"),
        ({"prompt": "a", "completion": "b"}, "completion"),
        ({"question": "a", "answer": "b"}, "completion"),
        ({"instruction": "a", "output": "b"}, "completion"),
        ({"text": "a"}, "text"),
    ],
)
def test_recognises_what_kind_of_rows_these_are(row: dict[str, object], kind: str) -> None:
    assert check([row], {}).kind == kind


def test_turns_other_names_of_roles_into_ours() -> None:
    rows = check([{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}], {})

    assert rows.rows[0] == {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    }


def test_takes_columns_by_the_names_given() -> None:
    rows = check([{"frage": "a", "antwort": "b"}], {"prompt": "frage", "completion": "antwort"})

    assert rows.rows == ({"prompt": "a", "completion": "b"},)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "There are no rows in the list"),
        ([{"prompt": "a"}], "`completion` is missing"),
        ([{"a": "b", "c": "d"}], "has the columns a, c, which is no kind of training rows"),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": " ", "completion": "b"}],
            "row 2: `prompt` is empty",
        ),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], "row 2: `completion` is missing"),
        ([{"text": 3}], "row 1: `text` is a value of type int, not text"),
        ([{"messages": CHAT[:1]}], "row 1: the chat is one-sided: it ends with the user"),
        ([{"messages": CHAT[1:]}], "row 1: the chat is one-sided: only the assistant speaks"),
        ([{"messages": [{"role": "boss", "content": "a"}]}], "row 1: message 1 has the role 'boss'"),
        ([{"messages": []}], "row 1: `messages` is empty"),
        ([{"messages": "hello"}], "row 1: `messages` is a value of type str, not a list"),
        ([{"messages": CHAT}, "hello"], "Row 2 of the list is not a row"),
    ],
)
def test_refuses_rows_by_number(rows: list[dict[str, object]], said: str) -> None:
    with pytest.raises(DataInvalid) as refused:
        check(rows, {}, "the list")

    assert said in str(refused.value)
    assert refused.value.fix


def test_shows_the_first_of_many_wrong_rows() -> None:
    with pytest.raises(DataInvalid) as refused:
        check([{"text": "fine"}, *[{"text": ""}] * 9], {})

    assert "9 rows of 10" in str(refused.value)
    assert "row 6" in str(refused.value)
    assert "and 4 more" in str(refused.value)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_reads_files(tmp_path: Path, name: str) -> None:
    import pandas

    frame = pandas.DataFrame({"prompt": ["a", "ä"], "completion": ["b", "c\u2028d"]})
    path = tmp_path / name
    if path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    elif path.suffix == ".json":
        frame.to_json(path, orient="records", force_ascii=False)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)

    found, source = rows_of(path)

    assert source == str(path)
    assert check(found, {}).rows == check(frame.to_dict(orient="records"), {}).rows


def test_reads_a_data_frame() -> None:
    import pandas

    found, source = rows_of(pandas.DataFrame({"prompt": ["a", None], "completion": ["b", "c"]}))

    with pytest.raises(DataInvalid, match="row 2: `prompt` is missing"):
        check(found, {}, source)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", b'{"text": "a"}\n{"text": "\xe4"}\n', "line 2: byte 0xe4 is not UTF-8"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n', "line 2 is not JSON"),
        ("rows.json", b'{"text": "a"}', "holds no list of rows"),
        ("rows.parquet", b"PAR1", "is not Parquet"),
        ("rows.docx", b"", "is no kind of file that rows are read from"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataInvalid) as refused:
        rows_of(tmp_path / name)

    assert said in str(refused.value)


def test_says_that_a_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="There is no file"):
        rows_of(tmp_path / "rows.jsonl")


def test_refuses_what_holds_no_rows() -> None:
    with pytest.raises(UsageError, match="can't be read from int"):
        rows_of(3)
