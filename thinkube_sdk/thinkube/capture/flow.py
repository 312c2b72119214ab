"""Following control flow: what surely runs, what may, and what runs more than once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from thinkube.capture.arguments import Arguments
from thinkube.capture.definitions import Definitions
from thinkube.capture.values import NOTHING, Values


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


class Flow(Definitions):
    """Follow blocks."""

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
        self.truth(node.test)
        outcome = constant_test(node.test)
        if outcome is not None:
            self.execute(node.body if outcome else node.orelse)
            return
        self.alternatives([(node.body, None), (node.orelse, None)])

    def _do_for(self, node: ast.For | ast.AsyncFor) -> None:
        values = self.evaluate(node.iter)
        inner = self.consume(values) | self.parts(values)
        if isinstance(node, ast.AsyncFor) and self.at_top():
            self.record.awaits = True
        self._loop(node.body, lambda: self.assign(node.target, inner | self.parts(values)))
        with self.branch():
            self.execute(node.orelse)

    _do_asyncfor = _do_for

    def _do_while(self, node: ast.While) -> None:
        self.truth(node.test)
        self._loop(node.body, lambda: None)
        self.truth(node.test)
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
                self.truth(case.guard)

        return prepare
