"""The state of following a notebook statement by statement: names, objects, and what each statement did."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from thinkube.capture.values import NOTHING, Binding, Call, Change, External, Frame, Record, Value, Values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thinkube.capture.arguments import Arguments

BUILTINS = frozenset(dir(builtins)) | {
    "__name__",
    "__doc__",
    "__builtins__",
    "__spec__",
    "__annotations__",
    "__file__",
}
# Names that only a notebook has.
HISTORY = frozenset({"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh", "In", "Out"})
# Calls followed for one statement, and for a whole notebook.
BUDGET = 2_000
TOTAL = 400_000


class Machine:
    """Names, objects and the record of the statement being followed."""

    def __init__(self) -> None:
        self.bindings: dict[str, list[Binding]] = {}
        self.now: dict[str, Values] = {}
        self.records: list[Record] = []
        self.record = Record(-1)
        self.frame: Frame | None = None
        self.call: Call | None = None
        self.among: Values = NOTHING
        self.weak = 0
        self.loops = 0
        self.assumed = 0
        self.applying = False
        self.bound: set[str] = set()
        self.statement: ast.stmt = ast.Pass()
        self.bare: ast.expr | None = None
        self.imports: dict[str, Value] = {}
        self.texts: dict[str, Value] = {}
        self.states: dict[str, Value] = {}
        self.made: dict[int, Value] = {}
        self.followed: dict[tuple[Value, tuple[Values, ...]], Values] = {}
        self.work = 0
        self.total = 0
        self.harmless: set[Value] = set()
        self.sensitive: set[str] = set()
        self.lazy_annotations = False
        self.seeded: set[str] = set()
        self.files: dict[str, Value] = {}
        self.bases: dict[Value, list[Value]] = {}
        self.prompt_values: dict[str, Value] = {}
        self.shown = ""
        self.lists_subclasses = False
        self.called_back: dict[Value, tuple[Values, int]] = {}
        self.given_up: set[Value] = set()
        self.reached: dict[Value, set[Value]] = {}
        self.crowd = Value("opaque")
        self.marks: dict[Value, list[Values]] = {}
        self.kept_trees: list[ast.AST] = []

    # What the other layers supply.
    def evaluate(self, node: ast.expr) -> Values:
        raise NotImplementedError

    def execute(self, body: Sequence[ast.stmt]) -> None:
        raise NotImplementedError

    def assign(self, target: ast.expr, values: Values) -> None:
        raise NotImplementedError

    def follow(self, function: Value, arguments: Arguments) -> Values:
        raise NotImplementedError

    def apply(self, node: ast.expr, callee: Value, arguments: Arguments, bare: bool) -> Values:
        raise NotImplementedError

    def attribute(self, base: Values, name: str) -> Values:
        raise NotImplementedError

    def parts(self, values: Values) -> Values:
        raise NotImplementedError

    def consume(self, values: Values) -> Values:
        raise NotImplementedError

    def run_callbacks(self, callbacks: Values, given: Values) -> None:
        raise NotImplementedError

    def hint(self, names: set[str], values: Values) -> None:
        raise NotImplementedError

    def is_local(self, module: str) -> bool:
        """Whether a module lies beside the notebook."""
        del module
        return False

    def search_path(self, folder: str) -> None:
        """Take note of a folder that modules are looked up in."""

    # Objects.
    def imported(self, name: str) -> Value:
        """The one object that stands for a dotted library name."""
        value = self.imports.get(name)
        if value is None:
            value = self.imports[name] = Value("import", name)
            root = library(name)
            if root == "builtins":
                pass
            elif root != name:
                value.same.add(self.imported(root))
            elif name.isidentifier() and self.is_local(name):
                # Modules beside the notebook may share state with each other.
                value.same.add(self.imported("(local modules)"))
        return value

    def random_state(self, library_name: str) -> Value:
        """A library's generator of random numbers, apart from the rest of the library."""
        return self.states.setdefault(library_name, Value("import", f"{library_name} (random state)"))

    def text(self, content: str) -> Values:
        """A known string."""
        value = self.texts.get(content)
        if value is None:
            value = self.texts[content] = Value("text", content)
        return frozenset((value,))

    def make(self, node: ast.AST, kind: str, holds: Iterable[Value] = (), name: str = "") -> Value:
        """The object that this place in the text makes when this statement runs."""
        value = self.made.get(id(node))
        if value is None or value.kind != kind:
            value = self.made[id(node)] = Value(kind, name, node, self.record.index)
        value.holds.update(v for v in holds if v is not value)
        return value

    def fresh(self, node: ast.AST, held: Values) -> Values:
        """A new object of an unknown kind that may hold `held`."""
        return frozenset((self.make(node, "opaque", [v for v in held if v.kind not in {"text", "prompt"}]),))

    # Names.
    def lookup(self, name: str, line: int) -> Values:
        """What a name refers to here."""
        frame = self.frame
        first = True
        while frame is not None:
            if (frame.kind != "class" or first) and name in frame.locals and name not in frame.globals:
                return frame.locals[name]
            first = False
            frame = frame.parent
        here = name in self.record.binds and name not in self.bindings
        if name not in self.bound and not here:
            (self.record.soft if self.assumed else self.record.reads).setdefault(name, line)
        found = self.now.get(name)
        if found is None:
            return frozenset((self.imported(f"builtins.{name}"),)) if name in BUILTINS else NOTHING
        return found

    def bind(self, name: str, values: Values) -> None:
        """Bind a name here."""
        frame = self.frame
        if frame is not None and name not in frame.globals:
            if name in frame.outer and frame.parent is not None:
                holder: Frame | None = frame.parent
                while holder is not None:
                    if holder.kind == "function" and name in holder.locals:
                        holder.locals[name] |= values
                        self.change((holder.state,))
                        return
                    holder = holder.parent
            if self.weak and name in frame.locals:
                values |= frame.locals[name]
            frame.locals[name] = self.collapse(values)
            return
        record = self.record
        strong = self.weak == 0 and frame is None
        if name in self.sensitive:
            self.harmless.clear()
            self.sensitive.clear()
        record.binds[name] = self.collapse(record.binds.get(name, NOTHING) | values)
        record.bind_calls.setdefault(name, []).append(self.call if frame is not None else None)
        record.deleted.discard(name)
        if strong or frame is None:
            self.bound.add(name)
        if strong:
            self.now[name] = values
        else:
            self.now[name] = self.collapse(self.now.get(name, NOTHING) | values)

    def collapse(self, values: Values) -> Values:
        """Many objects as one that may be any of them, so that sets stay small."""
        if len(values) <= 40:
            return values
        made = Value("opaque", "", None, self.record.index)
        made.same = {value for value in values if value.kind not in {"text", "prompt"}}
        made.holds = set(made.same)
        return frozenset((made,))

    # Effects.
    def change(self, values: Iterable[Value], sure: bool = True, deep: bool = False) -> None:
        """Note that the statement changes these objects; with `deep`, also what they hold."""
        seen: set[Value] = set()
        todo = list(values)
        uses = self.call.uses if self.call is not None else NOTHING
        while todo:
            value = todo.pop()
            if value in seen or value.kind in {"text", "prompt"}:
                continue
            seen.add(value)
            marks = self.marks.setdefault(value, [])
            if any(mark <= uses for mark in marks):
                continue
            marks.append(uses if len(marks) < 8 else NOTHING)
            self.work += 1
            if value.kind == "import" and value.name.startswith("builtins."):
                continue
            if value.slots is not None and value.name != "tuple":
                value.slots = None
            known = self.record.changed.get(value)
            value.changes.append(Change(self.record.index, self.call, sure))
            self.record.changed[value] = sure or bool(known)
            todo.extend(value.same)
            if value.inside is not None:
                todo.append(value.inside)
                todo.extend(v for v in value.inside.holds if v.kind not in {"function", "class", "import"})
            if deep:
                todo.extend(v for v in value.holds if v.kind not in {"function", "class", "import"})

    def external(self, what: str) -> None:
        """Note an effect outside the process."""
        self.record.externals.append(External(what, self.statement))

    def set_up(self, reason: str) -> None:
        """Note that the statement sets up the process, so that it ships whatever the object needs."""
        self.record.always = reason
        self.record.always_calls.append(self.call)

    @contextmanager
    def branch(self) -> Iterator[None]:
        """Follow something that may not run."""
        before = set(self.bound)
        self.weak += 1
        try:
            yield
        finally:
            self.weak -= 1
            self.bound = before

    def settle(self) -> None:
        """Enter the statement's bindings into the history of each name."""
        record = self.record
        for name, values in record.binds.items():
            strong = name in self.bound
            record.strong |= {name} if strong else set()
            if strong:
                self.now[name] = values
            self.bindings.setdefault(name, []).append(
                Binding(record.index, values, strong, calls=tuple(record.bind_calls.get(name, (None,))))
            )
        for name in record.deleted:
            self.bindings.setdefault(name, []).append(Binding(record.index, NOTHING, True, deleted=True))
            self.now.pop(name, None)


def library(name: str) -> str:
    """The part of a dotted name whose state is shared: a standard module, or a whole library."""
    root, _, rest = name.partition(".")
    if (
        root in {"os", "sys"}
        and rest.partition(".")[0] in {"environ", "path", "modules"}
        and root + rest[:4] != "ospath"
    ):
        return f"{root}.{rest.partition('.')[0]}"
    return "langchain" if root.startswith(("langchain_", "langgraph")) else root


def reach(values: Iterable[Value], limit: int = 400) -> set[Value]:
    """Everything that can be reached from `values`."""
    seen: set[Value] = set()
    todo = list(values)
    while todo and len(seen) < limit:
        value = todo.pop()
        if value not in seen:
            seen.add(value)
            if len(todo) < 4 * limit:
                todo.extend(value.holds)
    return seen
