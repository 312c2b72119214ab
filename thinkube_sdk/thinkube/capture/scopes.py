"""Which module-level names a function's body can read or bind when it runs."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

# What looks like a relative or absolute path of a file.
PATH = re.compile(r"^(?![a-z]+://)[\w./ ~-]*[\w/-]\.[A-Za-z]\w{0,7}$|^\.{0,2}/?[\w./-]+/$")


@dataclass
class Scope:
    """What one function, lambda or class body does with names that are not its own.

    Attributes:
        reads: names looked up outside, in order of appearance.
        writes: names bound outside, by `global`.
        hints: names inside string annotations: needed only where something binds them.
        files: strings that may name files.
        imports: modules it imports when it runs.
        dynamic: whether it calls `eval`, `exec`, `globals` or the like.
    """

    reads: dict[str, int] = field(default_factory=dict)
    writes: set[str] = field(default_factory=set)
    hints: set[str] = field(default_factory=set)
    dynamic: bool = False
    imports: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Walk:
    """One function's own body: loads, stores and the scopes nested in it."""

    def __init__(self, is_class: bool = False) -> None:
        self.loads: dict[str, int] = {}
        self.stores: set[str] = set()
        self.globals: set[str] = set()
        self.outer: set[str] = set()
        self.hints: set[str] = set()
        self.writes: set[str] = set()
        self.dynamic = False
        self.imports: set[str] = set()
        self.files: set[str] = set()
        self.is_class = is_class

    def load(self, name: str, line: int) -> None:
        if self.is_class and name in self.stores:
            return
        self.loads.setdefault(name, line)

    def visit(self, node: ast.AST) -> None:
        kind = type(node)
        if kind is ast.Name:
            assert isinstance(node, ast.Name)
            if isinstance(node.ctx, ast.Load):
                self.load(node.id, node.lineno)
            else:
                self.stores.add(node.id)
            return
        if kind is ast.Constant:
            text = getattr(node, "value", None)
            if isinstance(text, str) and len(text) <= 200 and PATH.match(text):
                self.files.add(text)
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            given = len(node.args) + len(node.keywords)
            text = not (node.args and isinstance(node.args[0], ast.Constant))
            if node.func.id in {"eval", "exec"} and not text:
                self.hints |= text_names(node.args[0])
            if (node.func.id in {"eval", "exec"} and given == 1 and text) or node.func.id == "globals":
                self.dynamic = True
        if isinstance(node, ast.Global):
            self.globals.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            self.outer.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                self.imports.add(alias.name if isinstance(node, ast.Import) else node.module or "")
                self.stores.add(alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler):
            if node.name:
                self.stores.add(node.name)
            self.children(node)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
            bound = node.rest if isinstance(node, ast.MatchMapping) else node.name
            if bound:
                self.stores.add(bound)
            self.children(node)
        elif isinstance(node, _SCOPES):
            self.nested(node)
        elif isinstance(node, _COMPREHENSIONS):
            self.comprehension(node)
        elif isinstance(node, ast.AugAssign):
            if isinstance(node.target, ast.Name):
                self.load(node.target.id, node.lineno)
            self.visit(node.value)
            self.visit(node.target)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            self.assign(node)
        else:
            self.children(node)

    def children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.visit(child)

    def assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
        if isinstance(node, ast.AnnAssign):
            self.annotation(node.annotation)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.visit(target)

    def annotation(self, node: ast.expr | None) -> None:
        if node is None:
            return
        self.visit(node)
        self.hints |= text_names(node)

    def comprehension(self, node: ast.AST) -> None:
        inner = _Walk()
        inner.children(node)
        self.merge(inner, inner.stores)

    def nested(self, node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                self.visit(decorator)
            self.stores.add(node.name)
        inner, local = _inside(node, self)
        self.merge(inner, local)

    def merge(self, inner: _Walk, local: set[str]) -> None:
        for name, line in inner.loads.items():
            if name not in local or name in inner.globals:
                self.load(name, line)
        self.writes |= inner.writes | inner.globals
        self.stores |= inner.outer
        self.hints |= inner.hints
        self.imports |= inner.imports
        self.files |= inner.files
        self.dynamic = self.dynamic or inner.dynamic


def _inside(node: ast.AST, outside: _Walk | None) -> tuple[_Walk, set[str]]:
    """Walk a scope's own body. Defaults, bases and annotations are looked up in the scope around it."""
    around = outside or _Walk()
    if isinstance(node, ast.ClassDef):
        for base in [*node.bases, *(keyword.value for keyword in node.keywords)]:
            around.visit(base)
        inner = _Walk(is_class=True)
        for statement in node.body:
            inner.visit(statement)
        return inner, set()
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    inner = _Walk()
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    inner.stores.update(argument.arg for argument in every)
    for default in [*arguments.defaults, *arguments.kw_defaults]:
        if default is not None:
            around.visit(default)
    for argument in every:
        around.annotation(argument.annotation)
    if isinstance(node, ast.Lambda):
        inner.visit(node.body)
    else:
        around.annotation(node.returns)
        for statement in node.body:
            inner.visit(statement)
    inner.loads.pop("__class__", None)
    return inner, inner.stores - inner.globals


def free_names(node: Definition) -> Scope:
    """What calling `node` looks up or binds outside of its own body.

    Example:
        >>> tree = ast.parse("def f(x): return [g(y) + x for y in items]").body[0]
        >>> sorted(free_names(tree).reads)
        ['g', 'items']
    """
    inner, local = _inside(node, None)
    reads = {name: line for name, line in inner.loads.items() if name not in local}
    return Scope(reads, inner.globals | inner.writes, inner.hints, inner.dynamic, inner.imports, inner.files)


def text_names(node: ast.AST) -> set[str]:
    """Names inside string annotations: `"Graph | None"` names Graph."""
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value[:1].isidentifier():
            try:
                tree = ast.parse(part.value, mode="eval")
            except (SyntaxError, ValueError):
                continue
            names.update(name.id for name in ast.walk(tree) if isinstance(name, ast.Name))
    return names
