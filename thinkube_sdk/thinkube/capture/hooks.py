"""What operators, built-in functions and access to attributes set off in classes of the notebook."""

from __future__ import annotations

from collections.abc import Sequence

from thinkube.capture.arguments import Arguments
from thinkube.capture.special import Special
from thinkube.capture.values import NOTHING, Call, Value, Values

TRUTH = ("__bool__", "__len__")
TEXT = ("__format__", "__str__", "__repr__")
# What built-in functions call on each object they are given.
BUILTIN_HOOKS: dict[str, tuple[str, ...]] = {
    "len": ("__len__",), "bool": TRUTH, "str": ("__str__", "__repr__"), "repr": ("__repr__",),
    "print": ("__str__", "__repr__"), "format": TEXT, "hash": ("__hash__",), "abs": ("__abs__",),
    "int": ("__int__", "__index__", "__trunc__"), "float": ("__float__", "__index__"),
    "round": ("__round__",), "next": ("__next__",), "iter": ("__iter__",), "dir": ("__dir__",),
    "reversed": ("__reversed__",), "bytes": ("__bytes__",), "display": ("_repr_html_", "__repr__"),
    "copy.copy": ("__copy__",), "copy.deepcopy": ("__deepcopy__",), "anext": ("__anext__",),
    "aiter": ("__aiter__",), "divmod": ("__divmod__",), "pow": ("__pow__",),
}  # fmt: skip
# What built-in functions call on what they find in a collection.
ELEMENT_HOOKS: dict[str, tuple[str, ...]] = {
    "sorted": ("__lt__", "__gt__"),
    "min": ("__lt__", "__gt__"),
    "max": ("__gt__", "__lt__"),
    "sum": ("__radd__", "__add__"),
    "any": TRUTH,
    "all": TRUTH,
    "set": ("__hash__",),
}
_OPENS_ITERATOR = ("__iter__", "__aiter__", "__getitem__")


class Hooks(Special):
    """Run special methods where the language does."""

    def class_member(self, owner: Value, name: str, seen: frozenset[Value] = frozenset()) -> Values:
        """A class's own or inherited attribute."""
        if owner in seen:
            return NOTHING
        if name in owner.fields:
            return owner.fields[name]
        for base in self.bases.get(owner, ()):
            found = self.class_member(base, name, seen | {owner})
            if found:
                return found
        return NOTHING

    def member(self, value: Value, name: str) -> Values:
        """An instance's or a class's attribute, unbound."""
        if value.kind == "class":
            return self.class_member(value, name)
        own = value.fields.get(name)
        if own:
            return own
        return self.class_member(value.owner, name) if value.owner is not None else NOTHING

    def hook(
        self, values: Values, names: Sequence[str], *given: Values, builds: bool = False
    ) -> Values | None:
        """Run the first of these special methods that each object's class has; None if none has any."""
        result: Values | None = None
        for value in sorted((v for v in values if v.kind == "instance"), key=lambda v: v.serial):
            assert value.owner is not None
            for name in names:
                methods = [f for f in self.class_member(value.owner, name) if f.kind == "function"]
                for method in methods:
                    found = self._run(value, name, method, given, builds)
                    result = found if result is None else result | found
                if methods:
                    break
        return result

    def _run(self, value: Value, name: str, method: Value, given: Sequence[Values], builds: bool) -> Values:
        outer = self.call
        self.call = Call(outer, frozenset((value,)), name, builds)
        try:
            return self.follow(method, Arguments([frozenset((value,)), *given]))
        finally:
            self.call = outer

    def consume(self, values: Values) -> Values:
        """Iterate: use up what is an iterator, and tell what the notebook's own iterators hand over."""
        self.change(value for value in values if value.iterates)
        opened = self.hook(values, _OPENS_ITERATOR)
        found = self.parts(opened) if opened else NOTHING
        return found | (self.hook(values | (opened or NOTHING), ("__next__", "__anext__")) or NOTHING)

    def builtin_hooks(self, short: str, arguments: Arguments) -> Values:
        """What a built-in function runs of the classes of its arguments."""
        found: Values = NOTHING
        names = BUILTIN_HOOKS.get(short)
        if names:
            found = self.hook(arguments.solid, names) or NOTHING
        if short in ELEMENT_HOOKS:
            inner = self.parts(arguments.solid)
            found |= self.hook(inner, ELEMENT_HOOKS[short], inner) or NOTHING
        return found

    # Attributes.
    def descriptor_get(self, member: Value, instance: Values, owner: Values) -> Values:
        """What a descriptor hands over."""
        if member.kind == "instance":
            return self.hook(frozenset((member,)), ("__get__",), instance, owner) or NOTHING
        if member.name == "property" and member.kind == "container":
            return frozenset().union(
                *(self.follow(f, Arguments([instance])) for f in member.holds if f.kind == "function")
            )
        return NOTHING

    def set_attribute(self, value: Value, name: str, values: Values, deletes: bool = False) -> bool:
        """Run what setting (or deleting) this attribute sets off; whether that takes the value's place."""
        if value.kind != "instance" or value.owner is None:
            return False
        this = frozenset((value,))
        verb = "del" if deletes else "set"
        given = [] if deletes else [values]
        general = "__delattr__" if deletes else "__setattr__"
        handled = self.hook(this, (general,), self.text(name), *given, builds=True) is not None
        for method in self.class_member(value.owner, f" {verb} {name}"):
            self._run(value, name, method, given, builds=True)
            handled = True
        for member in self.class_member(value.owner, name):
            if member.kind == "instance":
                special = "__delete__" if deletes else "__set__"
                ran = self.hook(frozenset((member,)), (special,), this, *given, builds=True)
                handled = handled or ran is not None
            elif member.kind == "container" and member.name == "property":
                for method in member.holds:
                    if method.kind == "function":
                        self._run(value, name, method, given, builds=True)
                        handled = True
        return handled

    def name_members(self, owner: Value) -> None:
        """Tell each descriptor of a new class its name."""
        for name, members in list(owner.fields.items()):
            if not name.startswith(" "):
                self.hook(members, ("__set_name__",), frozenset((owner,)), self.text(name), builds=True)
