"""Following statements: what each binds, reads and changes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from thinkube.capture.flow import Flow
from thinkube.capture.machine import library
from thinkube.capture.special import bound_patterns
from thinkube.capture.values import NOTHING, Record, Value, Values


class Follower(Flow):
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
        self.marks.clear()
        self.reached.clear()
        self.crowd = Value("opaque", made=index)
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
            solid = frozenset(v for v in before if v.kind not in {"text", "prompt"})
            made = self.in_place(node.op, before, added)
            if made is None:
                self.consume(added)
            self.change(solid)
            for value in solid:
                value.holds |= {v for v in self.parts(added) if v.kind not in {"text", "prompt"}} - {value}
            self.bind(target.id, solid | (made or NOTHING))
            return
        added = self.evaluate(node.value)
        if any(v.kind == "import" and library(v.name) == "sys.path" for v in self.evaluate(target.value)):
            self.set_up("changes where modules are found")
        if isinstance(target, ast.Attribute):
            self.change(
                self.evaluate(ast.copy_location(ast.Attribute(target.value, target.attr, ast.Load()), target))
            )
        self.assign(target, added)

    def assign(self, target: ast.expr, values: Values) -> None:
        if isinstance(target, ast.Name):
            self.bind(target.id, values)
        elif isinstance(target, (ast.Tuple, ast.List)):
            exact = self.unpacked(target.elts, values)
            if exact is not None:
                self.assign_each(target.elts, exact)
                return
            inner = self.parts(values) | self.consume(values)
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
                self.set_up(f"sets sys.{target.attr}")
            self.set_field(base, [target.attr], values)
        elif isinstance(target, ast.Subscript):
            base, keys = self.evaluate(target.value), self.evaluate(target.slice)
            places = {value: self.put(value, target.slice, values) for value in base if value.slots}
            self.assign_item(base, keys, values)
            for value, slots in places.items():
                value.slots = slots
            if any(v.name == "builtins.globals()" for v in base):
                self.record.patterns.extend(bound_patterns(target.slice, whole=True))

    def assign_each(self, targets: Sequence[ast.expr], values: Sequence[Values]) -> None:
        """Unpack where it is known what goes where."""
        for target, each in zip(targets, values, strict=True):
            if isinstance(target, ast.Starred):
                self.assign(target.value, frozenset((self.make(target, "container", each, "list"),)))
            else:
                self.assign(target, each)

    def assign_item(self, base: Values, keys: Values, values: Values, deletes: bool = False) -> None:
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
                self.set_up("changes where modules are found")
            elif value.kind not in {"text", "prompt"}:
                if not deletes:
                    self.hook(frozenset((value,)), ("__setitem__",), keys, values, builds=True)
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
                self.delete_field(self.evaluate(target.value), [target.attr])
            elif isinstance(target, ast.Subscript):
                base = self.evaluate(target.value)
                keys = self.evaluate(target.slice)
                self.hook(base, ("__delitem__",), keys, builds=True)
                self.assign_item(base, NOTHING, NOTHING, deletes=True)

    def _do_return(self, node: ast.Return) -> None:
        values = self.evaluate(node.value) if node.value else NOTHING
        if self.frame is not None:
            self.frame.returns |= values

    def _do_raise(self, node: ast.Raise) -> None:
        for part in (node.exc, node.cause):
            if part is not None:
                self.evaluate(part)

    def _do_assert(self, node: ast.Assert) -> None:
        self.truth(node.test)

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
            self.set_up("changes how the source is read")
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

    def _do_typealias(self, node: ast.stmt) -> None:
        name: ast.Name = node.name  # type: ignore[attr-defined]
        self.bind(name.id, self.evaluate(node.value))  # type: ignore[attr-defined]
