"""Following statements: what each binds, reads and changes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.expressions import Expressions
from thinkube.capture.machine import library
from thinkube.capture.values import NOTHING, Frame, Record, Value, Values


def constant_test(node: ast.expr) -> bool | None:
    """The outcome of a test that is written out: `if False`, `if __name__ == "__main__"`."""
    if isinstance(node, ast.Constant):
        return bool(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = constant_test(node.operand)
        return None if inner is None else not inner
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.left, ast.Name):
        other = node.comparators[0]
        if node.left.id == "__name__" and isinstance(other, ast.Constant) and isinstance(node.ops[0], ast.Eq):
            return bool(other.value == "__main__")
    return None


class Follower(Expressions):
    """Follow statements one by one."""

    def statement_record(self, index: int, node: ast.stmt, shown: str = "", stopped: bool = False) -> Record:
        """Follow one top-level statement and tell what it does; `stopped`: an exception ended it."""
        self.record = Record(index)
        self.made, self.followed, self.bound = {}, {}, set()
        self.work, self.call, self.shown = 0, None, shown
        self.weak = int(stopped)
        self.execute([node])
        self.weak = 0
        self.applying = False
        self.assumed = 0
        self.called_back.clear()
        self.given_up.clear()
        if stopped:
            self.bound.clear()
            if not hasattr(node, "body"):
                self.record.binds.clear()
        self.settle()
        self.records.append(self.record)
        return self.record

    def execute(self, body: Sequence[ast.stmt]) -> None:
        for node in body:
            if self.frame is None:
                self.statement = node
            method: Callable[[ast.stmt], None] | None = getattr(
                self, "_do_" + type(node).__name__.lower(), None
            )
            if method is not None:
                method(node)

    # Simple statements.
    def _do_expr(self, node: ast.Expr) -> None:
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        outer, self.bare = self.bare, value
        self.evaluate(node.value)
        self.bare = outer

    def _do_assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if (
            len(node.targets) == 1
            and isinstance(target, (ast.Tuple, ast.List))
            and isinstance(node.value, (ast.Tuple, ast.List))
            and len(target.elts) == len(node.value.elts)
            and not any(isinstance(e, ast.Starred) for e in [*target.elts, *node.value.elts])
        ):
            each = [self.evaluate(value) for value in node.value.elts]
            for part, values in zip(target.elts, each, strict=True):
                self.assign(part, values)
            return
        values = self.evaluate(node.value)
        for target in node.targets:
            self.assign(target, values)

    def _do_annassign(self, node: ast.AnnAssign) -> None:
        values, hints = self.annotation(node.annotation)
        self.hint(hints, values)
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value))

    def hint(self, names: set[str], values: Values) -> None:
        """Remember what annotations of a class or of the notebook mention."""
        if self.frame is not None and self.frame.kind == "class":
            self.frame.locals[" hints"] = self.frame.locals.get(" hints", NOTHING) | values
            self.frame.outer |= names
        else:
            self.record.hints |= names

    def _do_augassign(self, node: ast.AugAssign) -> None:
        target = node.target
        if isinstance(target, ast.Name):
            before = self.lookup(target.id, node.lineno)
            added = self.evaluate(node.value)
            self.consume(added)
            solid = frozenset(v for v in before if v.kind not in {"text", "prompt"})
            self.change(solid)
            for value in solid:
                value.holds |= {v for v in self.parts(added) if v.kind not in {"text", "prompt"}} - {value}
            self.bind(target.id, solid or NOTHING)
            return
        added = self.evaluate(node.value)
        if any(v.kind == "import" and library(v.name) == "sys.path" for v in self.evaluate(target.value)):  # type: ignore[attr-defined]
            self.record.always = "changes where modules are found"
        if isinstance(target, ast.Attribute):
            self.change(
                self.evaluate(ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target))
            )
        self.assign(target, added)

    def assign(self, target: ast.expr, values: Values) -> None:
        if isinstance(target, ast.Name):
            self.bind(target.id, values)
        elif isinstance(target, (ast.Tuple, ast.List)):
            inner = self.parts(values)
            for element in target.elts:
                if isinstance(element, ast.Starred):
                    self.assign(element.value, frozenset((self.make(element, "container", inner, "list"),)))
                else:
                    self.assign(element, inner)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, values)
        elif isinstance(target, ast.Attribute):
            base = self.evaluate(target.value)
            if any(v.kind == "import" and v.name == "sys" for v in base):
                self.record.always = f"sets sys.{target.attr}"
            self.set_field(base, [target.attr], values)
        elif isinstance(target, ast.Subscript):
            self.assign_item(self.evaluate(target.value), self.evaluate(target.slice), values)

    def assign_item(self, base: Values, keys: Values, values: Values) -> None:
        solid = frozenset(v for v in values if v.kind not in {"text", "prompt"})
        for value in base:
            if value.kind == "import" and value.name == "os.environ":
                self.environment_write(keys, values)
            elif value.kind == "import" and value.name == "builtins.globals()":
                frame, self.frame = self.frame, None
                for key in keys:
                    if key.kind == "text":
                        self.bind(key.name, values)
                        self.record.hidden[key.name] = f'globals()["{key.name}"]'
                self.frame = frame
            elif value.kind == "import" and library(value.name) in {"sys.path", "sys.modules"}:
                self.record.always = "changes where modules are found"
            elif value.kind not in {"text", "prompt"}:
                if value.kind == "instance":
                    for hook in self.member(value, "__setitem__"):
                        if hook.kind == "function":
                            self.follow(hook, Arguments([frozenset((value,)), keys, values]))
                self.change((value,) if value.kind != "import" else (self.imported(library(value.name)),))
                value.holds |= solid - {value}

    def _do_delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                if self.frame is None or target.id in self.frame.globals:
                    self.lookup(target.id, node.lineno)
                    self.record.deleted.add(target.id)
                    self.record.binds.pop(target.id, None)
                else:
                    self.frame.locals.pop(target.id, None)
            elif isinstance(target, ast.Attribute):
                self.set_field(self.evaluate(target.value), [], NOTHING)
            elif isinstance(target, ast.Subscript):
                base = self.evaluate(target.value)
                self.evaluate(target.slice)
                self.assign_item(base, NOTHING, NOTHING)

    def _do_return(self, node: ast.Return) -> None:
        values = self.evaluate(node.value) if node.value else NOTHING
        if self.frame is not None:
            self.frame.returns |= values

    def _do_raise(self, node: ast.Raise) -> None:
        for part in (node.exc, node.cause):
            if part is not None:
                self.evaluate(part)

    def _do_assert(self, node: ast.Assert) -> None:
        self.evaluate(node.test)

    def _do_global(self, node: ast.Global) -> None:
        if self.frame is not None:
            self.frame.globals.update(node.names)

    def _do_nonlocal(self, node: ast.Nonlocal) -> None:
        if self.frame is not None:
            self.frame.outer.update(node.names)

    # Imports.
    def _do_import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.asname:
                self.bind(alias.asname, frozenset((self.imported(alias.name),)))
                continue
            root = alias.name.partition(".")[0]
            known_here = self.now.get(root) == frozenset((self.imported(root),)) and "." in alias.name
            if known_here and self.frame is None:
                self.weak += 1
            self.bind(root, frozenset((self.imported(root),)))
            if known_here and self.frame is None:
                self.weak -= 1
                self.bound.discard(root)

    def _do_importfrom(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        if module == "__future__":
            self.record.always = "changes how the source is read"
            self.lazy_annotations = self.lazy_annotations or any(a.name == "annotations" for a in node.names)
        for alias in node.names:
            if alias.name == "*":
                self.record.stars.append(module)
                for name, value in self.star_names(module).items():
                    self.bind(name, value)
                continue
            self.bind(alias.asname or alias.name, frozenset((self.imported(f"{module}.{alias.name}"),)))

    def star_names(self, module: str) -> dict[str, Values]:
        """Names that `from module import *` binds, as far as they are known."""
        return {name: frozenset((self.imported(f"{module}.{name}"),)) for name in self.public_names(module)}

    def public_names(self, module: str) -> Sequence[str]:
        del module
        return ()

    # Definitions.
    def _do_functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        decorators = [self.evaluate(decorator) for decorator in node.decorator_list]
        value = self.make(node, "function", (), node.name)
        value.frame = self.enclosing_function()
        if value.frame is not None:
            value.holds.add(value.frame.state)
        self.signature(value, node)
        if self.frame is not None and self.frame.kind == "class":
            value.owner = self.frame.function
        self.bind(node.name, self.decorate(node, value, decorators))

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
        pairs = list(
            zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)
        )
        pairs += [
            (a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None
        ]
        for argument, default in pairs:
            found = self.evaluate(default)
            value.fields[argument.arg] = found
            value.holds |= {v for v in found if v.kind not in {"text", "prompt"}}
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
        """A decorator that belongs to an object enters the function there: `@app.get("/")`, `@graph.add_node`."""
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
            self.change(base for base in bases if base.kind == "class")
            for base in bases:
                if base.kind == "class":
                    base.holds.add(value)
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

    # Control flow.
    def alternatives(self, bodies: list[tuple[Sequence[ast.stmt], Callable[[], None] | None]]) -> None:
        """Follow bodies of which one runs; what all of them bind is surely bound."""
        before = set(self.bound)
        common: set[str] | None = None
        self.weak += 1
        for body, prepare in bodies:
            self.bound = set(before)
            if prepare is not None:
                prepare()
            self.execute(body)
            if not (body and isinstance(body[-1], (ast.Raise, ast.Return, ast.Continue, ast.Break))):
                common = self.bound if common is None else common & self.bound
        self.weak -= 1
        self.bound = before | (common or set())

    def _do_if(self, node: ast.If) -> None:
        self.evaluate(node.test)
        outcome = constant_test(node.test)
        if outcome is not None:
            self.execute(node.body if outcome else node.orelse)
            return
        self.alternatives([(node.body, None), (node.orelse, None)])

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        values = self.evaluate(node.iter)
        self.consume(values)
        if isinstance(node, ast.AsyncFor) and self.at_top():
            self.record.awaits = True
        self._loop(node.body, lambda: self.assign(node.target, self.parts(values)))
        with self.branch():
            self.execute(node.orelse)

    _do_asyncfor = _do_for

    def _do_while(self, node: ast.While) -> None:
        self.evaluate(node.test)
        self._loop(node.body, lambda: None)
        self.evaluate(node.test)
        with self.branch():
            self.execute(node.orelse)

    def _loop(self, body: Sequence[ast.stmt], prepare: Callable[[], None]) -> None:
        # Twice, so that what one round stores is seen by the next; within a loop once is enough.
        rounds = 1 if self.loops else 2
        self.loops += 1
        for _ in range(rounds):
            with self.branch():
                prepare()
                if self.frame is None:
                    self.followed.clear()
                self.execute(body)
        self.loops -= 1

    def _do_with(self, node: ast.With | ast.AsyncWith) -> None:
        if isinstance(node, ast.AsyncWith) and self.at_top():
            self.record.awaits = True
        for item in node.items:
            values = self.evaluate(item.context_expr)
            entered = values
            for value in values:
                if value.kind == "instance":
                    for name in ("__enter__", "__aenter__", "__exit__", "__aexit__"):
                        for function in self.member(value, name):
                            if function.kind == "function":
                                entered |= self.follow(function, Arguments([frozenset((value,))]))
                elif value.iterates:
                    self.change((value,))
                    entered |= value.holds
            if item.optional_vars is not None:
                self.assign(item.optional_vars, entered)
        self.execute(node.body)

    _do_asyncwith = _do_with

    def _do_try(self, node: ast.Try) -> None:
        bodies: list[tuple[Sequence[ast.stmt], Callable[[], None] | None]] = [
            ([*node.body, *node.orelse], None)
        ]
        for handler in node.handlers:
            bodies.append((handler.body, self._caught(handler)))
        self.alternatives(bodies)
        self.execute(node.finalbody)

    _do_trystar = _do_try

    def _caught(self, handler: ast.ExceptHandler) -> Callable[[], None]:
        def prepare() -> None:
            if handler.type is not None:
                self.evaluate(handler.type)
            if handler.name:
                self.bind(handler.name, NOTHING)

        return prepare

    def _do_match(self, node: ast.Match) -> None:
        values = self.evaluate(node.subject)
        bodies: list[tuple[Sequence[ast.stmt], Callable[[], None] | None]] = [([], None)]
        for case in node.cases:
            bodies.append((case.body, self._matched(case, values)))
        self.alternatives(bodies)

    def _matched(self, case: ast.match_case, values: Values) -> Callable[[], None]:
        def prepare() -> None:
            for part in ast.walk(case.pattern):
                if isinstance(part, (ast.MatchValue,)):
                    self.evaluate(part.value)
                elif isinstance(part, ast.MatchClass):
                    self.evaluate(part.cls)
                bound = part.rest if isinstance(part, ast.MatchMapping) else getattr(part, "name", None)
                if isinstance(bound, str) and isinstance(
                    part, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)
                ):
                    self.bind(bound, values | self.parts(values))
            if case.guard is not None:
                self.evaluate(case.guard)

        return prepare

    def _do_typealias(self, node: ast.stmt) -> None:
        name: ast.Name = node.name  # type: ignore[attr-defined]
        self.bind(name.id, self.evaluate(node.value))  # type: ignore[attr-defined]


def _short(name: str) -> str:
    return name.removeprefix("builtins.")
