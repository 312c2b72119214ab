"""Running functions of the notebook in the abstract: exactly where possible, bounded everywhere."""

from __future__ import annotations

import ast

from thinkube.capture.arguments import Arguments
from thinkube.capture.classes import Classes, decorators_of
from thinkube.capture.machine import BUDGET, TOTAL
from thinkube.capture.values import NOTHING, Call, Frame, Value, Values

_DEPTH = 40
_CACHES = frozenset({"lru_cache", "cache", "cached", "memoize", "cache_resource", "cache_data"})


class Functions(Classes):
    """Follow functions into their bodies."""

    def follow(self, function: Value, arguments: Arguments) -> Values:
        """Run a function of the notebook with these arguments and see what it does."""
        node = function.node
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        key = (function, (*arguments.positional, *arguments.named.values(), arguments.spread))
        if key in self.followed:
            return self.followed[key]
        if function in self.harmless and not arguments.solid:
            return NOTHING
        self.record.follows = True
        before = self.effects()
        self.total += 1
        depth = len(self.call.enclosing()) if self.call else 0
        if self.work > BUDGET or self.total > TOTAL or depth > _DEPTH:
            return self.give_up(function, arguments)
        self.followed[key] = arguments.solid
        frame = Frame("function", function.frame, function=function)
        self.fill(frame, node, function, arguments)
        saved = self.frame, self.weak, self.loops, self.bare
        self.frame, self.weak, self.loops, self.bare = frame, 0, 0, None
        try:
            if isinstance(node, ast.Lambda):
                frame.returns |= self.evaluate(node.body)
            else:
                self.execute(node.body)
        finally:
            self.frame, self.weak, self.loops, self.bare = saved
        result = frozenset(frame.returns)
        if frame.yields:
            made = self.make(node, "opaque", result, "generator")
            made.iterates = True
            result = frozenset((made,))
        if function.caches is None:
            function.caches = bool(decorators_of(function) & _CACHES)
        if function.caches:
            result = self.remembered(function, result)
        self.followed[key] = result
        if not arguments.solid and not result and before == self.effects() and not self.weak:
            self.harmless.add(function)
            self.sensitive |= function.scope.reads.keys()
        return result

    def remembered(self, function: Value, result: Values) -> Values:
        """What a function that keeps its results hands over: also what it made before."""
        result |= function.fields.get(" results", NOTHING)
        function.fields[" results"] = result
        function.holds |= {v for v in result if v.kind not in {"text", "prompt"}}
        return result

    def effects(self) -> tuple[int, ...]:
        """How many effects the statement has shown so far."""
        record = self.record
        return (
            len(record.changed) + len(record.binds) + len(record.externals),
            len(record.prompts) + len(record.secrets),
            len(record.environment),
            len(record.deleted),
            bool(record.always),
            bool(record.dynamic),
        )

    def give_up(self, function: Value, arguments: Arguments) -> Values:
        """Too deep to follow: assume that the call changes whatever it can reach, so that it is kept."""
        if function in self.given_up:
            self.change(arguments.solid, sure=False)
            return arguments.solid
        self.given_up.add(function)
        reached: set[Value] = set()
        todo: set[Value] = {function, *arguments.solid}
        names: set[str] = set()
        while todo and len(reached) < 2_000:
            value = todo.pop()
            if value in reached:
                continue
            reached.add(value)
            todo |= value.holds
            if value.kind == "function":
                names |= value.scope.reads.keys() | value.scope.writes
                for name in value.scope.reads:
                    todo |= {v for v in self.now.get(name, NOTHING) if v.kind not in {"text", "prompt"}}
                for name in value.scope.writes:
                    self.record.binds.setdefault(name, self.now.get(name, NOTHING))
                    self.record.bind_calls.setdefault(name, []).append(self.call)
        for name in names:
            self.record.soft.setdefault(name, 0)
        if todo:
            self.set_up("calls more than can be followed")
        self.change((v for v in reached if v.kind not in {"import", "function", "class"}), sure=False)
        return arguments.solid

    def fill(self, frame: Frame, node: ast.AST, function: Value, arguments: Arguments) -> None:
        """Give parameters their objects."""
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        signature = node.args
        names = [a.arg for a in [*signature.posonlyargs, *signature.args]]
        taken = dict(zip(names, arguments.positional, strict=False)) | arguments.named
        for name in [*names, *(a.arg for a in signature.kwonlyargs)]:
            given = taken.get(name)
            if given is None:
                given = function.fields.get(name, NOTHING) | arguments.spread
            frame.locals[name] = given
        rest = arguments.spread.union(*arguments.positional[len(names) :])
        if signature.vararg:
            made = self.make(signature.vararg, "container", rest, "tuple")
            frame.locals[signature.vararg.arg] = frozenset((made,))
        if signature.kwarg:
            extra = {v for k, values in arguments.named.items() if k not in names for v in values} | rest
            made = self.make(signature.kwarg, "container", extra, "dict")
            frame.locals[signature.kwarg.arg] = frozenset((made,))

    def run_callbacks(self, callbacks: Values, given: Values) -> None:
        """Follow functions that something else will call with objects we can only bound."""
        if self.applying:
            return
        self.work += len(callbacks)
        if len(given) > 24:
            self.crowd.same |= given
            self.crowd.holds |= given
            given = frozenset((self.crowd,))
        if self.work > BUDGET:
            self.change(given, sure=False)
            return
        self.assumed += 1
        for callback in sorted(callbacks, key=lambda v: v.serial):
            seen, times = self.called_back.get(callback, (NOTHING, 0))
            if times and given <= seen:
                continue
            given |= seen
            self.called_back[callback] = (given, times + 1)
            if times > 3:
                self.change((v for v in given if v.kind in {"instance", "container"}), sure=False)
                continue
            target = callback
            arguments = Arguments([], {}, given)
            owners = NOTHING
            if callback.kind == "method" and not callback.fields["function"]:
                self.change(callback.fields["self"])
                for receiver in callback.fields["self"]:
                    receiver.holds |= {v for v in given if v.kind not in {"text", "prompt"}} - {receiver}
                continue
            if callback.kind == "method":
                functions = [f for f in callback.fields["function"] if f.kind == "function"]
                arguments = arguments.after(callback.fields["self"])
                owners = callback.fields["self"]
            else:
                functions = [callback] if callback.kind == "function" else []
            for function in functions:
                outer = self.call
                self.call = Call(outer, frozenset((target, function)) | owners, "__call__", builds=False)
                self.follow(function, arguments)
                self.call = outer
        self.assumed -= 1
