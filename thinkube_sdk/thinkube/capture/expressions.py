"""Following expressions: which objects they give, and what evaluating them reads and changes."""

from __future__ import annotations

import ast

from thinkube.capture.calls import Calls
from thinkube.capture.hooks import TEXT, TRUTH
from thinkube.capture.scopes import PATH, text_names
from thinkube.capture.values import NOTHING, Frame, Value, Values

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.MatMult: "matmul",
    ast.LShift: "lshift", ast.RShift: "rshift", ast.BitOr: "or",
    ast.BitAnd: "and", ast.BitXor: "xor",
}  # fmt: skip

_UNARY: dict[type[ast.unaryop], tuple[str, ...]] = {
    ast.USub: ("__neg__",), ast.UAdd: ("__pos__",), ast.Invert: ("__invert__",), ast.Not: TRUTH,
}  # fmt: skip
# The method asked first, what stands in for it, and the other side's.
_COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Eq: ("__eq__", "__eq__"), ast.NotEq: ("__ne__", "__eq__", "__eq__"),
    ast.Lt: ("__lt__", "__gt__"), ast.LtE: ("__le__", "__ge__"),
    ast.Gt: ("__gt__", "__lt__"), ast.GtE: ("__ge__", "__le__"),
    ast.In: ("__contains__", "__iter__", "__getitem__"),
    ast.NotIn: ("__contains__", "__iter__", "__getitem__"),
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
        if any(v.kind in {"import", "class"} for v in base):
            self.hint(text_names(node.slice), NOTHING)
        found: set[Value] = set()
        for value in base:
            exact = self.slot(value, node.slice)
            if exact is not None:
                found |= exact
                continue
            found |= self.hook(frozenset((value,)), ("__getitem__", "__missing__"), keys) or NOTHING
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
                self.hook(self.evaluate(part.value), TEXT)
                if part.format_spec is not None:
                    self.evaluate(part.format_spec)
        return NOTHING

    def _compare(self, node: ast.Compare) -> Values:
        found = left = self.evaluate(node.left)
        for operator, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(comparator)
            found |= right
            self.compared(operator, left, right)
            left = right
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
        if isinstance(node.op, ast.Div):
            held |= {self.file(v.name) for v in right if v.kind == "text" and PATH.match(v.name)}
        return self.fresh(node, frozenset(held))

    def compared(self, operator: ast.cmpop, left: Values, right: Values) -> None:
        """Run what a comparison sets off."""
        names = _COMPARISONS.get(type(operator))
        if names is None:
            return
        if isinstance(operator, (ast.In, ast.NotIn)):
            self.hook(right, names, left)
            self.change(v for v in right if v.iterates)
            return
        self.hook(left, names[:-1], right)
        self.hook(right, names[-1:], left)

    def in_place(self, operator: ast.operator, left: Values, right: Values) -> Values | None:
        """What `left += right` binds, where a class of the notebook says so."""
        name = _OPERATORS.get(type(operator), "")
        found = self.hook(left, (f"__i{name}__",), right, builds=True)
        return self.operate(operator, left, right) if found is None else found

    def operate(self, operator: ast.operator, left: Values, right: Values) -> Values | None:
        """What an operator of a class of the notebook does; None if there is none."""
        name = _OPERATORS.get(type(operator), "")
        forward = self.hook(left, (f"__{name}__",), right)
        backward = self.hook(right, (f"__r{name}__",), left)
        return backward if forward is None else forward | (backward or NOTHING)

    def _unaryop(self, node: ast.UnaryOp) -> Values:
        found = self.evaluate(node.operand)
        result = self.hook(found, _UNARY[type(node.op)])
        return NOTHING if isinstance(node.op, ast.Not) else self.fresh(node, found) | (result or NOTHING)

    def _boolop(self, node: ast.BoolOp) -> Values:
        found = self.truth(node.values[0])
        with self.branch():
            for value in node.values[1:]:
                found |= self.truth(value)
        return found

    def truth(self, node: ast.expr) -> Values:
        """Evaluate an expression whose truth is asked for."""
        values = self.evaluate(node)
        self.hook(values, TRUTH)
        return values

    def _ifexp(self, node: ast.IfExp) -> Values:
        self.truth(node.test)
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
        places: dict[object, Values] | None = {}
        for place, element in enumerate(node.elts):
            values = self.evaluate(element)
            if isinstance(element, ast.Starred):
                places, values = None, values | self.parts(values)
            elif places is not None:
                places[place] = values
            held |= values
        fresh = id(node) not in self.made
        made = self.make(node, "container", held, type(node).__name__.lower())
        self.lay_out(made, fresh, None if isinstance(node, ast.Set) else places)
        return frozenset((made,))

    _list = _tuple = _set = _display

    def _starred(self, node: ast.Starred) -> Values:
        values = self.evaluate(node.value)
        return values | self.consume(values)

    def _dict(self, node: ast.Dict) -> Values:
        held = NOTHING
        places: dict[object, Values] | None = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                held |= self.evaluate(key)
            values = self.evaluate(value) if key is not None else self.parts(self.evaluate(value))
            held |= values
            if not isinstance(key, ast.Constant):
                places = None
            elif places is not None:
                places[key.value] = values
        fresh = id(node) not in self.made
        made = self.make(node, "container", held, "dict")
        self.lay_out(made, fresh, places)
        return frozenset((made,))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> Values:
        self.frame = Frame("comprehension", self.frame)
        self.loops += 1
        try:
            for generator in node.generators:
                values = self.evaluate(generator.iter)
                inner = self.consume(values) | self.parts(values)
                self.record.awaits = self.record.awaits or (bool(generator.is_async) and self.at_top())
                self.assign(generator.target, inner)
                for test in generator.ifs:
                    self.truth(test)
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
        values = self.evaluate(node.value)
        return values | (self.hook(values, ("__await__",)) or NOTHING)

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
        inner = self.consume(values)
        if self.frame is not None:
            self.frame.returns |= self.parts(values) | inner
            self.frame.yields = True
        return values

    def _lambda(self, node: ast.Lambda) -> Values:
        value = self.make(node, "function", (), "<lambda>")
        value.frame = self.frame
        self.defaults(value, node.args)
        return frozenset((value,))

    def defaults(self, value: Value, arguments: ast.arguments) -> None:
        """Evaluate defaults, which happens when the definition runs."""
        positional = [*arguments.posonlyargs, *arguments.args]
        later = positional[len(positional) - len(arguments.defaults) :]
        pairs = [
            *zip(later, arguments.defaults, strict=True),
            *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            if default is not None:
                found = self.evaluate(default)
                value.fields[argument.arg] = found
                value.holds |= {v for v in found if v.kind not in {"text", "prompt"}}

    def annotation(self, node: ast.expr | None) -> tuple[Values, set[str]]:
        """An annotation's objects, and the names its strings mention."""
        if node is None:
            return NOTHING, set()
        if self.lazy_annotations:
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            return NOTHING, names | text_names(node)
        return self.evaluate(node), text_names(node)
