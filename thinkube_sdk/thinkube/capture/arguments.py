"""What a call hands over."""

from __future__ import annotations

from dataclasses import dataclass, field

from thinkube.capture.values import NOTHING, Values


@dataclass
class Arguments:
    """What a call hands over."""

    positional: list[Values] = field(default_factory=list)
    named: dict[str, Values] = field(default_factory=dict)
    spread: Values = NOTHING

    given: int = 0

    @property
    def every(self) -> Values:
        return frozenset().union(self.spread, *self.positional, *self.named.values())

    @property
    def solid(self) -> Values:
        """All of them but plain strings."""
        return frozenset(v for v in self.every if v.kind not in {"text", "prompt"})

    @property
    def texts(self) -> frozenset[str]:
        return frozenset(v.name for v in self.every if v.kind == "text")

    def after(self, first: Values) -> Arguments:
        """The same with one more in front."""
        return Arguments([first, *self.positional], self.named, self.spread)
