"""What each place of a tuple, a list or a dict holds, where the source says so exactly."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from thinkube.capture.arguments import Arguments
from thinkube.capture.machine import Machine
from thinkube.capture.values import NOTHING, Value, Values

_UNKNOWN = object()


def constant_key(node: ast.expr) -> object:
    """The key or index that is written out, or a mark that there is none."""
    if isinstance(node, ast.Constant) and type(node.value) in {int, str}:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = constant_key(node.operand)
        return -inner if isinstance(inner, int) else _UNKNOWN
    return _UNKNOWN


class Slots(Machine):
    """Keep what is written into constant places apart."""

    def lay_out(self, made: Value, fresh: bool, places: dict[object, Values] | None) -> None:
        """Note what a display puts where. Only what surely stands for one object may be changed later."""
        single = made.name == "tuple" or (self.frame is None and self.loops == 0)
        if places is None or not single:
            made.slots = None
        elif fresh:
            made.slots = places
        elif made.slots is not None and made.slots.keys() == places.keys():
            made.slots = {key: values | places[key] for key, values in made.slots.items()}
        else:
            made.slots = None

    def slot(self, value: Value, node: ast.expr) -> Values | None:
        """What a constant place holds; None where that isn't known."""
        slots = value.slots
        if slots is None:
            return None
        key = constant_key(node)
        if isinstance(key, int) and key < 0 and value.name != "dict":
            key += len(slots)
        return slots.get(key)

    def put(self, value: Value, node: ast.expr | None, values: Values) -> dict[object, Values] | None:
        """The places of a list or dict after one of them is set."""
        slots = value.slots
        key = constant_key(node) if node is not None else _UNKNOWN
        if slots is None or key is _UNKNOWN or (key not in slots and value.name != "dict"):
            return None
        return {**slots, key: slots.get(key, NOTHING) | values}

    def appended(self, value: Value, verb: str, arguments: Arguments) -> dict[object, Values] | None:
        """The places of a list after an append that surely happens once."""
        once = self.frame is None and self.weak == 0 and self.loops == 0
        if value.slots is None or verb != "append" or value.name != "list" or not once:
            return value.slots if value.name == "tuple" else None
        return {**value.slots, len(value.slots): NOTHING.union(*arguments.positional)}

    def unpacked(self, targets: Sequence[ast.expr], values: Values) -> list[Values] | None:
        """What each target of an unpacking gets; None where that isn't known."""
        if not values or any(v.slots is None or v.name not in {"tuple", "list"} for v in values):
            return None
        starred = next((n for n, target in enumerate(targets) if isinstance(target, ast.Starred)), None)
        result: list[Values] = [NOTHING] * len(targets)
        for value in values:
            places = list((value.slots or {}).values())
            if starred is None:
                if len(places) != len(targets):
                    return None
            else:
                after = len(targets) - starred - 1
                if len(places) < starred + after:
                    return None
                end = len(places) - after
                places = [*places[:starred], NOTHING.union(*places[starred:end]), *places[end:]]
            result = [one | other for one, other in zip(result, places, strict=True)]
        return result
