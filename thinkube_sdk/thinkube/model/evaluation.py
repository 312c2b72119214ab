"""What a tuned model does better than its base, on rows neither was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Example:
    """One held-out row, answered by both."""

    prompt: str
    expected: str
    base: str
    tuned: str


@dataclass(frozen=True)
class Evaluation:
    """Metrics of base and tuned model on the same rows.

    Attributes:
        rows: how many rows were measured.
        digest: of those rows.
        base: metric to value before training, such as `loss` (nats a token) and `exact_match` (0 to 1).
        tuned: the same after training.
        examples: some rows with both answers.
    """

    rows: int
    digest: str
    base: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    tuned: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    examples: tuple[Example, ...] = ()
