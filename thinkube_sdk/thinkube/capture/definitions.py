"""Following definitions: decorators, defaults, annotations, bases and what a new class sets off."""

from __future__ import annotations

import ast

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.expressions import Expressions
from thinkube.capture.machine import library
from thinkube.capture.values import NOTHING, Frame, Value, Values


class Definitions(Expressions):
    """Follow `def` and `class`."""

    def _do_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        decorators = [self.evaluate(decorator) for decorator in node.decorator_list]
        value = self.make(node, "function", (), node.name)
        value.frame = self.enclosing_function()
        if value.frame is not None:
            value.holds.add(value.frame.state)
        self.signature(value, node)
        if self.frame is not None and self.frame.kind == "class":
            value.owner = self.frame.function
        if not self.accessor(node, value):
            self.bind(node.name, self.decorate(node, value, decorators))

    def accessor(self, node: ast.FunctionDef | ast.AsyncFunctionDef, value: Value) -> bool:
        """Take in the setter or deleter of a property: `@name.setter`."""
        frame = self.frame
        if frame is None or frame.kind != "class" or len(node.decorator_list) != 1:
            return False
        decorator = node.decorator_list[0]
        if not (isinstance(decorator, ast.Attribute) and isinstance(decorator.value, ast.Name)):
            return False
        verb = {"setter": "set", "deleter": "del"}.get(decorator.attr)
        getters = frame.locals.get(decorator.value.id, NOTHING)
        if verb is None or not any(getter.kind == "function" for getter in getters):
            return False
        for getter in getters:
            getter.holds.add(value)
        frame.locals[node.name] = getters
        frame.locals[f" {verb} {node.name}"] = frozenset((value,))
        return True

    _do_asyncfunctiondef = _do_functiondef

    def enclosing_function(self) -> Frame | None:
        frame = self.frame
        while frame is not None and frame.kind == "class":
            frame = frame.parent
        return frame

    def signature(self, value: Value, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Evaluate defaults and annotations, which happens when the definition runs."""
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        self.defaults(value, arguments)
        every = [*positional, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        annotations = [argument.annotation for argument in every if argument is not None]
        for annotation in [*annotations, node.returns]:
            values, hints = self.annotation(annotation)
            value.holds |= {v for v in values if v.kind not in {"text", "prompt"}}
            value.scope.hints |= hints

    def decorate(self, node: ast.AST, value: Value, decorators: list[Values]) -> Values:
        """Apply decorators, innermost first."""
        current = frozenset((value,))
        nodes: list[ast.expr] = list(getattr(node, "decorator_list", []))
        for decorator, found in reversed(list(zip(nodes, decorators, strict=True))):
            result: Values = NOTHING
            plain = all(
                v.kind == "import" and known.TRANSPARENT_DECORATORS.match(_short(v.name)) for v in found
            )
            if (found and plain) or self._transparent(found):
                continue
            self.registers(decorator, current)
            # A library's decorator takes the function in; it does not call it yet.
            self.applying = all(v.kind in {"import", "opaque"} for v in found)
            for callee in sorted(found, key=lambda v: v.serial):
                result |= self.apply(decorator, callee, Arguments([current]), bare=False)
            self.applying = False
            current = frozenset(v for v in result if v.kind not in {"text", "prompt"}) or current
            if not any(value in v.holds or v is value for v in current):
                for v in current:
                    if v.kind == "opaque":
                        v.holds.add(value)
        return current

    def _transparent(self, found: Values) -> bool:
        names = {name for v in found for name in (v.name, *(h.name for h in v.holds if h.kind == "import"))}
        return bool(names) and all(known.TRANSPARENT_DECORATORS.match(_short(name)) for name in names if name)

    def registers(self, decorator: ast.expr, current: Values) -> None:
        """A decorator that belongs to an object enters the function there: `@graph.add_node`."""
        inner = decorator.func if isinstance(decorator, ast.Call) else decorator
        if not isinstance(inner, ast.Attribute):
            return
        for owner in self.evaluate(inner.value):
            if owner.kind == "import" and self.is_local(owner.name):
                self.change((self.imported(library(owner.name)),))
            if owner.kind in {"opaque", "container"}:
                owner.holds |= current
                self.change((owner,))

    def _do_classdef(self, node: ast.ClassDef) -> None:
        decorators = [self.evaluate(decorator) for decorator in node.decorator_list]
        value = self.make(node, "class", (), node.name)
        bases: list[Value] = []
        for base in node.bases:
            found = self.evaluate(base)
            bases += sorted(found, key=lambda v: v.serial)
            value.holds |= found
        self.bases[value] = bases
        keywords = {keyword.arg: self.evaluate(keyword.value) for keyword in node.keywords}
        frame = Frame("class", self.frame, function=value)
        saved = self.frame, self.weak
        self.frame, self.weak = frame, 0
        self.execute(node.body)
        self.frame, self.weak = saved
        hinted = frame.locals.pop(" hints", NOTHING)
        value.fields.update(frame.locals)
        value.scope.hints |= frame.outer
        for values in [*frame.locals.values(), hinted, *keywords.values()]:
            value.holds |= {v for v in values if v.kind not in {"text", "prompt"} and v is not value}
        if self.lists_subclasses:
            above = [base for base in bases if base.kind == "class"]
            self.change(above)
            for each in above:
                each.holds.add(value)
        self.name_members(value)
        self.on_subclass(value, keywords)
        self.bind(node.name, self.decorate(node, value, decorators))

    def on_subclass(self, value: Value, keywords: dict[str | None, Values]) -> None:
        """Run the hooks that a new class sets off."""
        this = frozenset((value,))
        for base in self.bases[value]:
            for hook in self.class_member(base, "__init_subclass__"):
                if hook.kind == "function":
                    named = {k: v for k, v in keywords.items() if k and k != "metaclass"}
                    self.follow(hook, Arguments([this], named))
        metaclasses = set(keywords.get("metaclass", NOTHING))
        for base in self.bases[value]:
            metaclasses |= base.fields.get(" metaclass", NOTHING)
        if metaclasses:
            value.fields[" metaclass"] = frozenset(metaclasses)
        for metaclass in metaclasses:
            for name in ("__new__", "__init__"):
                for hook in self.class_member(metaclass, name):
                    if hook.kind == "function":
                        self.follow(
                            hook,
                            Arguments([this if name == "__init__" else frozenset((metaclass,))], {}, this),
                        )


def _short(name: str) -> str:
    return name.removeprefix("builtins.")
