"""Rows out of whatever holds them: a list, a data frame, a Hugging Face data set, a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from thinkube.model.errors import ClientMissing, DataInvalid, UsageError

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


def rows_of(data: Any) -> tuple[Iterable[Mapping[str, Any]], str]:
    """The rows in `data`, and what to call it in a message.

    Args:
        data: a list of dicts, a pandas DataFrame, a Hugging Face Dataset, an MLflow dataset, or the path of a
            .jsonl, .json, .csv or .parquet file.

    Raises:
        UsageError: it is none of these.
        DataInvalid: a file is missing, is not UTF-8, or a line of it is not JSON.

    Example:
        >>> rows_of([{"text": "a"}])[1]
        'the list'
    """
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        return read_file(path), str(path)
    if isinstance(data, Sequence):
        return data, "the list"
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        return data.to_dict(orient="records"), "the data frame"
    if library == "datasets":
        if isinstance(data, Mapping):
            raise UsageError(
                f"The data set has several parts: {', '.join(data)}.", "Give one of them: data['train']."
            )
        return data, "the data set"
    if library == "polars":
        return data.to_dicts(), "the data frame"
    if hasattr(data, "to_df"):  # mlflow.data's and MLflow's evaluation data sets
        return data.to_df().to_dict(orient="records"), f"the data set {getattr(data, 'name', '')}".strip()
    raise UsageError(
        f"Rows can't be read from {type(data).__name__}.",
        "Give a list of dicts, a DataFrame, a Dataset, or the path of a .jsonl, .csv or .parquet file.",
    )


def read_file(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a file.

    Raises:
        DataInvalid: it is missing, is of another kind, is not UTF-8, or a line of it is not JSON.
    """
    if path.suffix not in _SUFFIXES:
        raise DataInvalid(
            f"{path} is no kind of file that rows are read from.", f"Known are: {', '.join(_SUFFIXES)}."
        )
    if not path.is_file():
        raise DataInvalid(f"There is no file {path}.", "Give the path of a file with rows.")
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataInvalid(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8.",
            "Save the file as UTF-8; `iconv -f LATIN1 -t UTF-8` turns Latin-1 into it.",
        ) from error
    if path.suffix == ".csv":
        return list(csv.DictReader(StringIO(text, newline="")))
    if path.suffix == ".json":
        return _document(path, text)
    return list(_lines(path, text))


def _lines(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    # Not `splitlines`: JSON strings may hold U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise DataInvalid(
                f"{path}, line {number} is not JSON: {error}", "Write one row a line."
            ) from error


def _document(path: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataInvalid(f"{path} is not JSON: {error}", "Write a list of rows.") from error
    if isinstance(document, list):
        return document
    # Argilla and others export {"records": […]}.
    for key in ("rows", "records", "data"):
        if isinstance(document, dict) and isinstance(document.get(key), list):
            return list(document[key])
    raise DataInvalid(f"{path} holds no list of rows.", "Write a list of rows.")


def _parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ModuleNotFoundError as error:
        raise ClientMissing(
            f"{path} is Parquet, which this Python can't read.", "Install pyarrow: pip install pyarrow"
        ) from error
    try:
        return list(parquet.read_table(path).to_pylist())
    except ArrowInvalid as error:
        raise DataInvalid(f"{path} is not Parquet: {error}", "Write it again.") from error
