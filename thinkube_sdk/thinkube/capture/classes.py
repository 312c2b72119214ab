"""Classes of the notebook: attributes, methods, instances."""

from __future__ import annotations

import ast
import re

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.hooks import Hooks
from thinkube.capture.values import NOTHING, Call, Value, Values

# `trainer.train_dataset` is something to train on, not something that trains.
_DATA = re.compile(r"_(dataset|data|dataloader|loader|set|split|args|config|x|y|df)$", re.I)


_FIELDS = re.compile(r"^(dataclasses\.field|pydantic\.(fields\.)?Field|attrs?\.(ib|attrib|field|Factory))$")


def decorators_of(function: Value) -> set[str]:
    nodes = getattr(function.node, "decorator_list", [])
    nodes = [part.func if isinstance(part, ast.Call) else part for part in nodes]
    return {part.attr if isinstance(part, ast.Attribute) else getattr(part, "id", "") for part in nodes}


def changes_by_name(receiver: Value, verb: str) -> bool:
    """Whether a method of this name changes its receiver."""
    if receiver.kind == "method" or receiver.kind == "file" or _DATA.search(verb):
        return False
    return known.verb_effect(verb, receiver.name if receiver.kind == "opaque" else "", False) == "changes"


class Classes(Hooks):
    """Look up members and make instances."""

    def lineage(self, owner: Value | None, seen: frozenset[Value] = frozenset()) -> set[Value]:
        """A class of the notebook and those above it."""
        if owner is None or owner.kind != "class" or owner in seen:
            return set()
        above = [self.lineage(base, seen | {owner}) for base in self.bases.get(owner, ())]
        return {owner}.union(*above)

    def library_bases(self, owner: Value) -> bool:
        """Whether any base comes out of a library."""
        return any(base.kind != "class" or self.library_bases(base) for base in self.bases.get(owner, ()))

    def foreign(self, value: Value) -> bool:
        """Whether an instance or class may have members that the notebook doesn't show."""
        owner = value if value.kind == "class" else value.owner
        return owner is None or self.library_bases(owner) or " metaclass" in owner.fields

    def attribute(self, base: Values, name: str) -> Values:
        """What `base.name` may be."""
        found: set[Value] = set()
        for value in base:
            if value.kind == "import":
                found.add(self.imported(f"{value.name}.{name}"))
            elif value.kind in {"instance", "class"}:
                found |= self.own_attribute(value, name)
            elif value.kind not in {"text", "prompt"}:
                found |= self.part(value)
                if changes_by_name(value, name):
                    found.add(self.taken(value, name))
        return frozenset(found)

    def hooked(self, value: Value, name: str) -> set[Value]:
        """What the class's `__getattr__` makes of an attribute that isn't there."""
        found: set[Value] = set()
        for hook in self.class_member(value.owner, "__getattr__") if value.owner is not None else ():
            if hook.kind == "function":
                found |= self.follow(hook, Arguments([frozenset((value,)), self.text(name)]))
        return found

    def part(self, value: Value) -> set[Value]:
        """Something inside an object that a library made: one stand-in for all of it."""
        if value.kind != "opaque" or len(value.holds) < 3:
            return {value, *(held for held in value.holds if value.kind != "opaque" or held.kind != "import")}
        exact = [v for v in value.holds if v.kind in {"instance", "function", "class", "method", "file"}]
        if " part" not in value.fields:
            made = Value("opaque", value.name, None, self.record.index)
            made.remote = value.remote
            made.inside = value
            made.holds.add(value)
            made.fields[" part"] = frozenset((made,))
            value.fields[" part"] = frozenset((made,))
        return {value, *value.fields[" part"], *(exact if len(exact) < 8 else ())}

    def taken(self, receiver: Value, verb: str) -> Value:
        """A changing method taken from an object whose class is not the notebook's."""
        key = f"bound {verb}"
        if key not in receiver.fields:
            made = Value("method", verb, None, self.record.index)
            made.fields = {"self": frozenset((receiver,)), "function": NOTHING}
            made.holds.add(receiver)
            receiver.fields[key] = frozenset((made,))
        return next(iter(receiver.fields[key]))

    def own_attribute(self, value: Value, name: str) -> set[Value]:
        members = self.member(value, name)
        found: set[Value] = set()
        for member in members:
            if name in value.fields and value.kind == "instance":
                found.add(member)
                continue
            if member.kind != "function":
                this = frozenset((value,))
                given = (this, NOTHING) if value.kind == "instance" else (NOTHING, this)
                found |= {member, *self.descriptor_get(member, *given)}
                continue
            marks = decorators_of(member)
            if value.kind == "instance" and marks & {"property", "cached_property", "computed_field"}:
                found |= self.property_value(value, member, name, "cached_property" in marks)
                found.add(value)
            elif (value.kind == "class" and "classmethod" not in marks) or "staticmethod" in marks:
                found.add(member)
            else:
                found.add(self.bound_method(value, member))
        if not members and value.kind == "instance":
            found |= self.hooked(value, name)
        if value.kind == "instance" and not name.startswith("__"):
            found |= self.hook(frozenset((value,)), ("__getattribute__",), self.text(name)) or NOTHING
        if not any(member.kind not in {"text", "prompt"} for member in members):
            found |= {value, *(value.holds if value.kind == "instance" and not members else ())}
        return found

    def property_value(self, value: Value, member: Value, name: str, cached: bool) -> Values:
        """What a property computes; a cached one hands over the same object from then on."""
        found = self.follow(member, Arguments([frozenset((value,))]))
        if cached:
            key = f" cached {name}"
            found |= value.fields.get(key, NOTHING)
            value.fields[key] = found
            value.holds |= {v for v in found if v.kind not in {"text", "prompt"}} - {value}
        return found

    def bound_method(self, instance: Value, function: Value) -> Value:
        """A method taken from its object."""
        key = f"bound {function.serial}"
        known_value = instance.fields.get(key)
        if known_value:
            return next(iter(known_value))
        made = Value("method", function.name, function.node, self.record.index)
        made.fields = {"self": frozenset((instance,)), "function": frozenset((function,))}
        made.holds |= {instance, function}
        instance.fields[key] = frozenset((made,))
        return made

    def call_members(
        self, node: ast.Call, receiver: Value, verb: str, members: Values, arguments: Arguments, bare: bool
    ) -> Values:
        """Call an attribute of an instance or class of the notebook."""
        result = NOTHING
        for member in sorted(members, key=lambda v: v.serial):
            if member.kind == "function":
                marks = decorators_of(member)
                own = verb in receiver.fields and receiver.kind == "instance"
                if "staticmethod" in marks or own:
                    result |= self.follow(member, arguments)
                elif "classmethod" in marks:
                    owner = receiver if receiver.kind == "class" else receiver.owner or receiver
                    result |= self.follow(member, arguments.after(frozenset((owner,))))
                elif receiver.kind == "class":
                    result |= self.follow(member, arguments)
                else:
                    result |= self.follow(member, arguments.after(frozenset((receiver,))))
            elif member.kind not in {"text", "prompt"}:
                more = arguments if receiver.kind == "class" else arguments.after(frozenset((receiver,)))
                result |= self.apply(node, member, more, bare)
        return result or self.fresh(node, NOTHING)

    def instantiate(self, node: ast.expr, owner: Value, arguments: Arguments) -> Values:
        """Make an instance of a class of the notebook."""
        made = self.make(node, "instance", (), owner.name)
        made.owner = owner
        if self.may_share(owner):
            # What makes instances may hand over the one it made before.
            made = next(iter(owner.fields.setdefault(" only", frozenset((made,)))))
            owner.holds.add(made)
        made.holds.add(owner)
        this = frozenset((made,))
        self.own_defaults(made, owner)
        outer = self.call
        self.call = Call(outer, this, "__init__", builds=True)
        followed = False
        try:
            for metaclass in self.metaclasses(owner):
                for function in self.class_member(metaclass, "__call__"):
                    if function.kind == "function":
                        self.follow(function, arguments.after(frozenset((owner,))))
            for name in ("__new__", "__init__", "__post_init__", "model_post_init"):
                for function in self.class_member(owner, name):
                    if function.kind == "function":
                        first = frozenset((owner,)) if name == "__new__" else this
                        given = Arguments() if name.endswith("post_init__") else arguments
                        self.follow(function, given.after(first))
                        followed = followed or name == "__init__"
        finally:
            self.call = outer
        if not followed or self.library_bases(owner):
            made.holds |= arguments.solid - {made}
            if not followed:
                for name, values in arguments.named.items():
                    made.fields[name] = made.fields.get(name, NOTHING) | values
        return this

    def own_defaults(self, instance: Value, owner: Value) -> None:
        """Give an instance its own copy of what its class says by `field(default_factory=…)`."""
        lineage = self.lineage(owner)
        model = any(
            base.kind == "import" and base.name.endswith("BaseModel")
            for each in lineage
            for base in self.bases.get(each, ())
        )
        for each in lineage:
            for name, values in each.fields.items():
                mine = {v for v in values if _FIELDS.match(v.name) or (model and v.kind == "container")}
                if mine and name not in instance.fields:
                    made = Value("opaque", "", None, self.record.index)
                    made.holds = {held for v in mine for held in v.holds}
                    instance.fields[name] = frozenset((made,))
                    instance.holds.add(made)

    def metaclasses(self, owner: Value, seen: frozenset[Value] = frozenset()) -> Values:
        """Classes of the notebook that a class is made by."""
        found = owner.fields.get(" metaclass", NOTHING)
        for base in self.bases.get(owner, ()):
            if base not in seen:
                found |= self.metaclasses(base, seen | {owner})
        return found

    def may_share(self, owner: Value) -> bool:
        """Whether making an instance may hand over an earlier one."""
        if any(self.class_member(each, "__call__") for each in self.metaclasses(owner)):
            return True
        made = self.class_member(owner, "__new__")
        return any(f.kind == "function" for f in made) and not self.library_bases(owner)

    def _is_super(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"

    def call_super(self, verb: str, arguments: Arguments, node: ast.expr) -> Values:
        """Call a method of the class above."""
        frame = self.frame
        while frame is not None and (frame.function is None or frame.function.owner is None):
            frame = frame.parent
        function = frame.function if frame is not None else None
        if frame is None or function is None or function.owner is None:
            return self.fresh(node, arguments.solid)
        parameters = getattr(function.node, "args", None)
        first = parameters.args[0].arg if parameters is not None and parameters.args else ""
        this = frame.locals.get(first, NOTHING)
        result = NOTHING
        found = False
        for base in self.bases.get(function.owner, ()):
            for member in self.class_member(base, verb):
                if member.kind == "function":
                    found = True
                    result |= self.follow(member, arguments.after(this))
        if not found and verb in {"__setattr__", "__delattr__"} and arguments.positional:
            names = [v.name for v in arguments.positional[0] if v.kind == "text"]
            self.set_field(this, names, NOTHING.union(*arguments.positional[1:]), raw=True)
        if not found:
            for value in this:
                value.holds |= arguments.solid - {value}
            if known.verb_effect(verb, "", False) == "changes":
                self.change(this, sure=False)
            result = self.fresh(node, arguments.solid | this)
        return result
