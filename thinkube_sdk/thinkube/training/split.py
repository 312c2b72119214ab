"""Which rows are held out: decided by what a row asks, so that no question is ever on both sides."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from thinkube.training.rows import Kind, Row, Rows


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be measured on.

    Attributes:
        duplicates: rows to learn from that are there more than once; they stay.
        leaked: rows to learn from that were left out, as the evaluation data asks the same.
    """

    kind: Kind
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    duplicates: int = 0
    leaked: int = 0


def split(rows: Rows, fraction: float, evaluation: Rows | None = None) -> Split:
    """Hold out about `fraction` of what is asked. A row stays on its side when others are added.

    Args:
        fraction: 0 holds nothing out.
        evaluation: rows to be measured on instead; what they ask is then left out of the training.
    """
    keys = [question(row) for row in rows.rows]
    if evaluation is not None:
        asked = {question(row) for row in evaluation.rows}
        train = tuple(row for row, key in zip(rows.rows, keys, strict=True) if key not in asked)
        held = evaluation.rows
        leaked = len(rows) - len(train)
    else:
        chosen = _chosen(keys, fraction)
        train = tuple(row for row, key in zip(rows.rows, keys, strict=True) if key not in chosen)
        held = tuple(row for row, key in zip(rows.rows, keys, strict=True) if key in chosen)
        leaked = 0
    return Split(rows.kind, train, held, len(train) - len({_canonical(row) for row in train}), leaked)


def question(row: Row) -> str:
    """The digest of what a row asks; case and white space don't count.

    Example:
        >>> question({"prompt": "Where?"}) == question({"prompt": " where? "})
        True
    """
    if "messages" in row:
        asked = [message["content"] for message in row["messages"] if message["role"] == "user"]
    else:
        asked = [row.get("prompt") or row["text"]]
    plain = "\n".join(" ".join(text.split()).casefold() for text in asked)
    return sha256(plain.encode()).hexdigest()


def digest(rows: Iterable[Row]) -> str:
    """The digest of rows, whatever their order.

    Example:
        >>> digest([{"text": "a"}, {"text": "b"}]) == digest([{"text": "b"}, {"text": "a"}])
        True
    """
    return sha256("\n".join(sorted(map(_canonical, rows))).encode()).hexdigest()


def _chosen(keys: list[str], fraction: float) -> set[str]:
    distinct = sorted(set(keys))
    if fraction == 0 or len(distinct) < 2:
        return set()
    chosen = {key for key in distinct if int(key[:16], 16) / 2**64 < fraction}
    # Few rows: at least one on each side.
    chosen = chosen or {distinct[0]}
    return chosen if len(chosen) < len(distinct) else chosen - {distinct[-1]}


def _canonical(row: Row) -> str:
    return sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
