"""Following expressions: which objects they give, and what evaluating them reads and changes."""

from __future__ import annotations

import ast

from thinkube.capture.arguments import Arguments
from thinkube.capture.calls import Calls
from thinkube.capture.scopes import text_names
from thinkube.capture.values import NOTHING, Frame, Value, Values

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.MatMult: "matmul",
    ast.LShift: "lshift", ast.RShift: "rshift", ast.BitOr: "or",
    ast.BitAnd: "and", ast.BitXor: "xor",
}  # fmt: skip


class Expressions(Calls):
    """Evaluate any expression to the objects it may be."""

    def evaluate(self, node: ast.expr) -> Values:
        method = getattr(self, "_" + type(node).__name__.lower(), None)
        if method is not None:
            result: Values = method(node)
            return result
        found = NOTHING
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                found |= self.evaluate(child)
        return found

    def _constant(self, node: ast.Constant) -> Values:
        value = node.value
        if isinstance(value, str):
            return self.text(value) if len(value) <= 300 else NOTHING
        return NOTHING

    def _name(self, node: ast.Name) -> Values:
        return self.lookup(node.id, node.lineno)

    def _attribute(self, node: ast.Attribute) -> Values:
        return self.attribute(self.evaluate(node.value), node.attr)

    def _subscript(self, node: ast.Subscript) -> Values:
        base = self.evaluate(node.value)
        keys = self.evaluate(node.slice)
        if any(v.kind == "import" and v.name == "os.environ" for v in base):
            return self.environment_value(keys)
        if any(v.kind == "import" and v.name == "builtins.globals()" for v in base):
            return self.by_name({key.name for key in keys if key.kind == "text"}, node.lineno)
        found: set[Value] = set()
        for value in base:
            if value.kind == "instance":
                for hook in self.member(value, "__getitem__"):
                    if hook.kind == "function":
                        found |= self.follow(hook, Arguments([frozenset((value,)), keys]))
            if value.kind == "opaque":
                found |= self.part(value)
                if value.name.endswith("defaultdict"):
                    self.change((value,))
            else:
                found |= {value, *self.parts(frozenset((value,)))}
        return frozenset(found)

    def by_name(self, texts: set[str], line: int) -> Values:
        """What `globals()[…]` may be: the names given, or any function where they aren't known."""
        if texts:
            return frozenset().union(*(self.lookup(text, line) for text in sorted(texts)))
        found: set[Value] = set()
        for name, values in self.now.items():
            functions = [v for v in values if v.kind == "function"]
            if functions and len(found) < 60:
                found.update(functions)
                self.record.soft.setdefault(name, line)
        return frozenset(found)

    def _joinedstr(self, node: ast.JoinedStr) -> Values:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.evaluate(part.value)
                if part.format_spec is not None:
                    self.evaluate(part.format_spec)
        return NOTHING

    def _compare(self, node: ast.Compare) -> Values:
        found = self.evaluate(node.left)
        for other in node.comparators:
            found |= self.evaluate(other)
        return NOTHING if all(v.kind in {"text", "import"} for v in found) else self.fresh(node, NOTHING)

    def _binop(self, node: ast.BinOp) -> Values:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        found = left | right
        solid = frozenset(v for v in found if v.kind != "text")
        result = self.operate(node.op, left, right)
        if result is not None:
            return result | self.fresh(node, solid)
        if node is self.bare:
            self.change((v for v in solid if v.kind in {"opaque", "container"}), sure=False)
        if not solid:
            return NOTHING
        held = {h for v in solid for h in (v.holds if v.kind == "container" else (v,))}
        return self.fresh(node, frozenset(held))

    def operate(self, operator: ast.operator, left: Values, right: Values) -> Values | None:
        """What an operator of a class of the notebook does; None if there is none."""
        name = _OPERATORS.get(type(operator), "")
        result: Values | None = None
        for values, other, verb in ((left, right, f"__{name}__"), (right, left, f"__r{name}__")):
            for value in values:
                if value.kind == "instance":
                    for hook in self.member(value, verb):
                        if hook.kind == "function":
                            found = self.follow(hook, Arguments([frozenset((value,)), other]))
                            result = found if result is None else result | found
        return result

    def _unaryop(self, node: ast.UnaryOp) -> Values:
        found = self.evaluate(node.operand)
        return NOTHING if isinstance(node.op, ast.Not) else self.fresh(node, found)

    def _boolop(self, node: ast.BoolOp) -> Values:
        found = self.evaluate(node.values[0])
        with self.branch():
            for value in node.values[1:]:
                found |= self.evaluate(value)
        return found

    def _ifexp(self, node: ast.IfExp) -> Values:
        self.evaluate(node.test)
        with self.branch():
            return self.evaluate(node.body) | self.evaluate(node.orelse)

    def _namedexpr(self, node: ast.NamedExpr) -> Values:
        values = self.evaluate(node.value)
        frame = self.frame
        while self.frame is not None and self.frame.kind == "comprehension":
            self.frame = self.frame.parent
        self.assign(node.target, values)
        self.frame = frame
        return values

    def _display(self, node: ast.List | ast.Tuple | ast.Set) -> Values:
        held = NOTHING
        for element in node.elts:
            values = self.evaluate(element)
            held |= self.parts(values) | values if isinstance(element, ast.Starred) else values
        return frozenset((self.make(node, "container", held, type(node).__name__.lower()),))

    _list = _tuple = _set = _display

    def _starred(self, node: ast.Starred) -> Values:
        values = self.evaluate(node.value)
        self.consume(values)
        return values

    def _dict(self, node: ast.Dict) -> Values:
        held = NOTHING
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                held |= self.evaluate(key)
            held |= self.evaluate(value) if key is not None else self.parts(self.evaluate(value))
        return frozenset((self.make(node, "container", held, "dict"),))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Values:
        self.frame = Frame("comprehension", self.frame)
        self.loops += 1
        try:
            for generator in node.generators:
                values = self.evaluate(generator.iter)
                self.consume(values)
                self.record.awaits = self.record.awaits or (bool(generator.is_async) and self.at_top())
                self.assign(generator.target, self.parts(values))
                for test in generator.ifs:
                    self.evaluate(test)
            if isinstance(node, ast.DictComp):
                held = self.evaluate(node.key) | self.evaluate(node.value)
            else:
                held = self.evaluate(node.elt)
        finally:
            self.loops -= 1
            self.frame = self.frame.parent
        made = self.make(node, "container", held, type(node).__name__.lower().removesuffix("comp"))
        made.iterates = isinstance(node, ast.GeneratorExp)
        return frozenset((made,))

    _listcomp = _setcomp = _dictcomp = _generatorexp = _comprehension

    def at_top(self) -> bool:
        """Whether code runs at the notebook's own level rather than inside a function."""
        frame = self.frame
        while frame is not None and frame.kind == "comprehension":
            frame = frame.parent
        return frame is None

    def _await(self, node: ast.Await) -> Values:
        if self.at_top():
            self.record.awaits = True
        return self.evaluate(node.value)

    def _yield(self, node: ast.Yield) -> Values:
        values = self.evaluate(node.value) if node.value else NOTHING
        frame = self.frame
        while frame is not None and frame.kind != "function":
            frame = frame.parent
        if frame is not None:
            frame.returns |= values
            frame.yields = True
        return NOTHING

    def _yieldfrom(self, node: ast.YieldFrom) -> Values:
        values = self.evaluate(node.value)
        if self.frame is not None:
            self.frame.returns |= self.parts(values)
            self.frame.yields = True
        return values

    def _lambda(self, node: ast.Lambda) -> Values:
        held = NOTHING
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                held |= self.evaluate(default)
        value = self.make(node, "function", held, "<lambda>")
        value.frame = self.frame
        return frozenset((value,))

    def annotation(self, node: ast.expr | None) -> tuple[Values, set[str]]:
        """An annotation's objects, and the names its strings mention."""
        if node is None:
            return NOTHING, set()
        if self.lazy_annotations:
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            return NOTHING, names | text_names(node)
        return self.evaluate(node), text_names(node)

    def consume(self, values: Values) -> None:
        """Note that iterating uses up what is an iterator."""
        self.change(value for value in values if value.iterates)
