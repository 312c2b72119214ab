"""Which objects are the captured one, and which calls merely use it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from thinkube.capture.signatures import INVOKES
from thinkube.capture.values import Binding, Call, Record, Value


@dataclass(frozen=True)
class Subject:
    """The captured object.

    Attributes:
        surely: objects that it is, or that it keeps for itself.
        groups: objects of which it is one, where it can't be told which.
    """

    surely: frozenset[Value] = frozenset()
    groups: tuple[frozenset[Value], ...] = ()

    def demo(self, call: Call | None) -> bool:
        """Whether a call, or one around it, merely uses the captured object."""
        if call is None:
            return False
        if not self.surely.isdisjoint(call.uses):
            return True
        # Where it can't be told which of several objects was captured, only a call of any of them is a demo.
        return any(
            not each.builds and group <= (each.among or each.on)
            for group in self.groups
            for each in call.enclosing()
        )


def subject_of(
    target: str,
    reaching: Iterable[Binding],
    bindings: Mapping[str, Sequence[Binding]],
    live: Mapping[str, object] | None,
) -> Subject:
    """The objects that the target's bindings in force may be."""
    surely: set[Value] = set()
    groups: list[frozenset[Value]] = []
    for binding in reaching:
        group = frozenset(v for v in binding.values if v.kind not in {"text", "import"})
        if len(group) > 1 and live is not None and target in live:
            group = _not_another(group, live[target], bindings, live)
        if len(group) == 1:
            surely |= group
        elif group:
            groups.append(group)
    for value in list(surely):
        if value.kind == "instance":
            # Running what an instance keeps for itself (`agent.graph.stream(…)`) is using the instance.
            surely |= {v for values in value.fields.values() for v in values if v.kind == "opaque"}
    return Subject(frozenset(surely), tuple(groups))


def _not_another(
    group: frozenset[Value],
    subject: object,
    bindings: Mapping[str, Sequence[Binding]],
    live: Mapping[str, object],
) -> frozenset[Value]:
    """Of several objects that the target may be, those that the kernel does not know to be others."""
    others: set[Value] = set()
    for name, found in bindings.items():
        last = found[-1].values
        if len(last) == 1 and name in live and live[name] is not subject:
            others |= last
    return group - others or group


def chats(record: Record, call: Call | None) -> bool:
    """Whether a statement reads what a person types and shows what a function answers."""
    if call is None or not record.shows or not any(p.kind == "input" for p in record.prompts):
        return False
    called = [v for each in call.enclosing() if not each.builds for v in each.on]
    return any(v.kind in {"function", "method", "instance"} and _answers(v) for v in called)


def converses(call: Call | None) -> bool:
    """Whether a change comes from running something that a library made: an agent, a chain."""
    return call is not None and any(each.verb in INVOKES for each in call.enclosing())


def _answers(value: Value) -> bool:
    """Whether calling this hands something back."""
    if value.kind == "instance":
        return True
    return isinstance(value.node, ast.Lambda) or any(
        isinstance(part, (ast.Return, ast.Yield)) and part.value is not None
        for part in ast.walk(value.node or ast.Pass())
    )
