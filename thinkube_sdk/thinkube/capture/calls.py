"""Following calls: into functions of the notebook exactly, into libraries by what is known of them."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.libraries import Libraries
from thinkube.capture.machine import reach
from thinkube.capture.values import NOTHING, Call, Value, Values

_STRING_RESULTS = known.words(
    "upper lower strip lstrip rstrip title capitalize casefold swapcase replace format format_map join "
    "center ljust rjust zfill translate removeprefix removesuffix expandtabs count find rfind index "
    "startswith endswith isdigit isalpha isalnum hexdigest isoformat strftime"
)
_CONTAINER_CHANGES = known.words(
    "append extend insert remove pop clear sort reverse update setdefault popitem add discard "
    "difference_update intersection_update symmetric_difference_update __setitem__ __delitem__ __iadd__ "
    "send throw close __next__"
)


# An instance that is at hand has been made already.
_MAKING = known.words("__init__ __new__ __post_init__ model_post_init __init_subclass__")


def _order(value: Value) -> int:
    return value.serial


def _trains(value: Value) -> bool:
    """Whether this is a trainer, or one that another function handed on."""
    return any(each.name.endswith("Trainer") for each in (value, *value.same))


class Calls(Libraries):
    """Follow calls."""

    def _call(self, node: ast.Call) -> Values:
        self.work += 1
        bare = node is self.bare
        if isinstance(node.func, ast.Attribute):
            if self._is_super(node.func.value):
                return self.call_super(node.func.attr, self.arguments(node), node)
            base = self.evaluate(node.func.value)
            arguments = self.arguments(node)
            found = NOTHING
            for receiver in sorted(base, key=_order):
                self.among = base if len(base) > 1 else NOTHING
                found |= self.method(node, receiver, node.func.attr, arguments, bare)
            if not base and node.func.attr not in _STRING_RESULTS:
                found = self.fresh(node, arguments.solid)
            return found
        callees = self.evaluate(node.func)
        arguments = self.arguments(node)
        found = NOTHING
        for callee in sorted(callees, key=_order):
            self.among = callees if len(callees) > 1 else NOTHING
            found |= self.apply(node, callee, arguments, bare)
        return found if callees else self.fresh(node, arguments.solid)

    def arguments(self, node: ast.Call) -> Arguments:
        result = Arguments(given=len(node.args) + len(node.keywords))
        for argument in node.args:
            values = self.evaluate(argument)
            if isinstance(argument, ast.Starred):
                result.spread |= self.parts(values)
            else:
                result.positional.append(values)
        for keyword in node.keywords:
            values = self.evaluate(keyword.value)
            if keyword.arg is None:
                result.spread |= self.parts(values)
            else:
                result.named[keyword.arg] = values
        return result

    def apply(self, node: ast.expr, callee: Value, arguments: Arguments, bare: bool) -> Values:
        """Call `callee`."""
        among, self.among = self.among, NOTHING
        if callee.kind == "import":
            return self.library_call(node, callee.name, arguments, bare)
        outer = self.call
        self.call = Call(outer, frozenset((callee,)), "__call__", False, among)
        try:
            if callee.kind == "function":
                return self.follow(callee, arguments)
            if callee.kind == "method":
                return self.call_bound(node, callee, arguments, bare)
            if callee.kind == "class":
                self.call = outer
                return self.instantiate(node, callee, arguments)
            if callee.kind == "instance":
                member = self.member(callee, "__call__")
                result = NOTHING
                for function in member:
                    result |= self.follow(function, arguments.after(frozenset((callee,))))
                return result if member else self.fresh(node, arguments.solid)
            if callee.kind in {"text", "prompt"}:
                return NOTHING
            return self.call_opaque(node, callee, arguments, bare)
        finally:
            self.call = outer

    def call_opaque(self, node: ast.expr, callee: Value, arguments: Arguments, bare: bool) -> Values:
        """Call something a library made: a decorated function, a partial, a chain."""
        result: set[Value] = set()
        if self.applying:
            return self.fresh(node, arguments.solid)
        if bare or callee.name.startswith("operator."):
            self.change(
                (v for v in arguments.solid if v.kind not in {"function", "class", "import"}),
                sure=callee.name.startswith("operator."),
            )
        keeps = callee.name in {"functools.lru_cache", "functools.cache"}
        if callee.name == "functools.partial":
            arguments = Arguments([], {}, arguments.every | frozenset(callee.holds))
        for held in sorted(callee.holds, key=_order):
            if held.kind in {"function", "method"} or (
                held.name.startswith("builtins.") and "." in held.name[9:]
            ):
                result |= self.apply(node, held, arguments, bare=False)
        if keeps:
            callee.holds |= {v for v in result if v.kind not in {"text", "prompt"}}
        return frozenset(result) | self.fresh(node, arguments.solid)

    def call_bound(self, node: ast.expr, callee: Value, arguments: Arguments, bare: bool) -> Values:
        """Call a method that was taken from its object."""
        instance, function = callee.fields["self"], callee.fields["function"]
        result = NOTHING
        if not function and isinstance(node, ast.Call):
            for receiver in sorted(instance, key=_order):
                result |= self.method(node, receiver, callee.name, arguments, bare)
            return result
        if not function:
            self.change(instance, sure=False)
        for each in function:
            if each.kind == "function":
                result |= self.follow(each, arguments.after(instance))
            else:
                result |= self.apply(node, each, arguments.after(instance), bare)
        return result

    # Methods.
    def method(self, node: ast.Call, receiver: Value, verb: str, arguments: Arguments, bare: bool) -> Values:
        """Call `receiver.verb(…)`."""
        among, self.among = self.among, NOTHING
        if receiver.kind == "method" and not receiver.fields["function"]:
            return NOTHING
        if receiver.kind in {"text", "prompt"}:
            return NOTHING if verb in _STRING_RESULTS else self.fresh(node, NOTHING)
        if receiver.kind == "import":
            return self.apply(node, self.imported(f"{receiver.name}.{verb}"), arguments, bare)
        outer = self.call
        if receiver.kind in {"instance", "class"}:
            functions = self.member(receiver, verb)
            if self.assumed and not functions and verb in _CONTAINER_CHANGES and not self.foreign(receiver):
                return NOTHING
            if not functions and receiver.kind == "instance":
                hooked = self.hooked(receiver, verb)
                if hooked:
                    found = NOTHING
                    for each in sorted(hooked, key=_order):
                        found |= self.apply(node, each, arguments, bare)
                    return found
            if functions:
                builds = self.builds(functions, verb, bare)
                self.call = Call(outer, frozenset((receiver,)), verb, builds, among)
                try:
                    return self.call_members(node, receiver, verb, functions, arguments, bare)
                finally:
                    self.call = outer
        effect = self.effect_of(receiver, verb, bare)
        uses = verb in known.USES or (verb in known.TRAINING and _trains(receiver))
        self.call = Call(outer, frozenset((receiver,)), verb, effect == "changes" and not uses, among)
        try:
            return self.library_method(node, receiver, verb, effect, arguments)
        finally:
            self.call = outer

    def builds(self, functions: Values, verb: str, bare: bool) -> bool:
        """Whether calling this method is a step of building the object rather than a use of it."""
        if verb in known.INVOKES or not bare:
            return False
        for function in functions:
            if function.kind == "function" and any(
                isinstance(part, (ast.Return, ast.Yield))
                and part.value is not None
                and not (isinstance(part.value, ast.Constant) and part.value.value is None)
                and not (isinstance(part.value, ast.Name) and part.value.id in {"self", "cls"})
                for part in ast.walk(function.node)  # type: ignore[arg-type]
            ):
                return known.verb_effect(verb, "", False) == "changes" and not self.shown
        return True

    def effect_of(self, receiver: Value, verb: str, bare: bool) -> known.Effect:
        """What a method does to its receiver, from its name, its receiver and what the cell displayed."""
        if receiver.kind == "container":
            return "changes" if verb in _CONTAINER_CHANGES else "parts"
        effect = known.verb_effect(verb, receiver.name, receiver.remote)
        if known.DRAWS_FROM.match(receiver.name) or (
            known.QUEUES.match(receiver.name) and verb.startswith("get")
        ):
            return "changes"
        if receiver.remote and effect == "unknown":
            # A service's client: what it may change is not in this process.
            return "external" if bare else "derives"
        if effect not in {"unknown", "derives"} or not bare:
            return effect
        if self.shown:
            maker = receiver.name.rpartition(".")[2]
            return "changes" if maker and maker in self.shown else "reads"
        return "changes"

    def reachable(self, receiver: Value) -> set[Value]:
        """What a receiver can reach, looked up once a statement."""
        if receiver not in self.reached:
            self.reached[receiver] = reach((receiver,))
        return self.reached[receiver]

    def callable_in(self, reached: Iterable[Value]) -> Values:
        """What a library may call among these: functions, and methods on the instances at hand."""
        found: set[Value] = set()
        owned: dict[Value, list[Value]] = {}
        instances: list[Value] = []
        for value in reached:
            if value.kind == "function" and value.owner is not None:
                owned.setdefault(value.owner, []).append(value)
            elif value.kind in {"function", "method"}:
                found.add(value)
            elif value.kind == "instance":
                instances.append(value)
        for instance in sorted(instances, key=_order):
            for owner in self.lineage(instance.owner):
                found |= {
                    self.bound_method(instance, f) for f in owned.get(owner, ()) if f.name not in _MAKING
                }
        return frozenset(found)

    def library_method(
        self,
        node: ast.Call,
        receiver: Value,
        verb: str,
        effect: known.Effect,
        arguments: Arguments,
    ) -> Values:
        """Apply a library method's effect."""
        self.touch_files(receiver, verb, arguments)
        if verb == "mkdir" and receiver.name.startswith("pathlib"):
            self.make_folder(node, arguments)
        if verb == "sample" and receiver.name.startswith("pandas") and "random_state" not in arguments.named:
            self.draw("numpy.random")
        if "fit" in verb:
            self.draw_when_fitted(verb, self.reachable(receiver))
        if verb in known.INVOKES:
            functions = self.callable_in(self.reachable(receiver) | arguments.solid)
            self.run_callbacks(functions, arguments.solid | {receiver})
        elif (effect not in {"changes", "external"} or verb in known.CALLING) and verb not in known.INERT:
            self.run_callbacks(arguments.solid, frozenset((receiver,)) | arguments.solid)
        if effect == "external":
            if (
                not receiver.remote
                and verb not in {"push_to_hub"}
                and known.verb_effect(verb, "", False) == "changes"
            ):
                effect = "changes"
            else:
                self.external(f"`{receiver.name or 'its object'}.{verb}`")
        if effect == "changes" or "inplace" in arguments.named:
            if verb == "shuffle" and known.DRAWS_FROM.match(receiver.name):
                self.change(arguments.solid)
            sure = receiver.kind == "container" or known.verb_effect(verb, receiver.name, False) == "changes"
            appended = self.appended(receiver, verb, arguments)
            self.change((receiver,), sure, deep=verb in {"train", "fit"})
            receiver.slots = appended
            if verb not in known.USES:
                receiver.holds |= arguments.solid - {receiver}
            if receiver.kind == "container" and verb in {"extend", "update"}:
                receiver.holds |= self.parts(arguments.solid) - {receiver}
            if receiver.kind == "container":
                hands_over = verb in {"pop", "popitem", "setdefault", "send", "__next__"}
                return self.parts(frozenset((receiver,))) | arguments.solid if hands_over else NOTHING
            made = self.fresh(node, frozenset((receiver,)))
            self._inherit(made, receiver, same=True)
            return made
        if effect == "parts":
            if receiver.iterates:
                self.change((receiver,))
            exact = self.slot(receiver, node.args[0]) if verb == "get" and node.args else None
            if exact is not None:
                return exact.union(*arguments.positional[1:])
            if receiver.kind == "container" and verb in {"copy", "items", "values", "keys"}:
                return frozenset((self.make(node, "container", receiver.holds, "list"),))
            return frozenset((receiver, *receiver.holds))
        if effect == "unknown":
            self.change((receiver,), sure=False)
        held = arguments.solid | {receiver} if effect in {"derives", "unknown"} else arguments.solid
        made = self.fresh(node, held | {v for v in receiver.holds if v.kind == "file"})
        self._inherit(
            made, receiver, same=effect == "unknown" or receiver.name.startswith(("numpy", "torch"))
        )
        return made

    def _inherit(self, made: Values, receiver: Value, same: bool) -> None:
        for value in made:
            value.name = value.name or receiver.name
            value.remote = value.remote or receiver.remote
            if same:
                value.same.add(receiver)
