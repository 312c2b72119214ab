"""Backwards from the object to the statements it needs."""

from __future__ import annotations

import ast
import heapq
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count

from thinkube.capture.machine import BUILTINS, library
from thinkube.capture.reading import Reading
from thinkube.capture.subject import Subject, chats, converses, subject_of
from thinkube.capture.values import Binding, Change, Record, Value, Values


@dataclass
class Selection:
    """What the object needs.

    Attributes:
        kept: index of each needed statement, with the reason.
        missing: names that something needed reads and nothing binds, with the index of a statement
            that needs it (None: the body of a function) and what needs it.
        demos: statements left out although they change the object, because they only use it.
        unsure: kept statements of which it is not certain that they change anything.
        used: for each kept statement, the names it binds that are needed.
        values: objects that can be reached from what is needed.
        dynamic: kept statements that run code which can't be seen.
        loads: frozen names, with the statement whose place they take.
    """

    kept: dict[int, str] = field(default_factory=dict)
    missing: dict[str, tuple[int, str]] = field(default_factory=dict)
    demos: dict[int, str] = field(default_factory=dict)
    unsure: set[int] = field(default_factory=set)
    used: dict[int, set[str]] = field(default_factory=dict)
    values: set[Value] = field(default_factory=set)
    dynamic: dict[int, str] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)


class Needs:
    """The search, latest need first, so that each statement and object is visited once."""

    def __init__(
        self,
        reading: Reading,
        target: str,
        frozen: Collection[str] = (),
        live: Mapping[str, object] | None = None,
    ) -> None:
        self.reading = reading
        self.machine = reading.machine
        self.records = reading.records
        self.target = target
        self.frozen = frozen
        self.end = len(reading.statements)
        self.selection = Selection()
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.ticket = count()
        self.visited: dict[Value, int] = {}
        self.again: set[tuple[Value, int]] = set()
        self.walked: dict[str, set[int]] = {}
        self.positions = {name: [b.index for b in found] for name, found in self.machine.bindings.items()}
        self.by_text = False
        self.skipped = {s.index for s in reading.statements if s.pragma == "skip"}
        self.stars = [r.index for r in self.records if any(not self.machine.public_names(m) for m in r.stars)]
        self.patterns = [(r.index, pattern) for r in self.records for pattern in r.patterns]
        self.varying, self.epochs = self._varying()
        self.subject = Subject()
        self.subject = subject_of(target, self.reaching(target, self.end), self.machine.bindings, live)

    def run(self) -> Selection:
        """Find everything the target needs."""
        for statement, record in zip(self.reading.statements, self.records, strict=True):
            reason = "`# thinkube: keep`" if statement.pragma == "keep" else self._sets_up(record)
            if record.environment and record.prompts:
                record.secrets.update(record.environment)
                record.environment.clear()
            if record.environment:
                reason = reason or f"sets the variable {', '.join(record.environment)}"
            if reason and statement.index not in self.skipped:
                self._push(statement.index, lambda i=statement.index, r=reason: self._keep(i, r))  # type: ignore[misc]
        self._need_name(self.target, self.end, "the object itself", -1)
        while self.queue:
            heapq.heappop(self.queue)[2]()
        return self.selection

    def _sets_up(self, record: Record) -> str:
        """Why a statement ships whatever the object needs, unless a demo of the object did it."""
        if record.always and all(self.subject.demo(call) for call in record.always_calls):
            return ""
        return record.always

    def _push(self, time: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (-time, next(self.ticket), action))

    # Names.
    def reaching(self, name: str, time: int) -> list[Binding]:
        """The bindings of `name` that may be in force just before statement `time`."""
        bindings = self.machine.bindings.get(name, [])
        found: list[Binding] = []
        position = bisect_left(self.positions.get(name, []), time)
        for place in range(position - 1, -1, -1):
            binding = bindings[place]
            if binding.index in self.skipped:
                continue
            if not binding.deleted and not (
                binding.calls and all(self.subject.demo(call) for call in binding.calls)
            ):
                found.append(binding)
            if binding.strong:
                break
            if len(found) > 50 and place in self.walked.get(name, ()):
                break
            self.walked.setdefault(name, set()).add(place)
        return found

    def _need_name(self, name: str, time: int, needer: str, index: int) -> None:
        found = self.reaching(name, time)
        self._need_deletion(name, time)
        if name in self.frozen:
            self.selection.loads[name] = found[0].index if found else 0
            return
        if not found:
            if self._need_by_pattern(name, time):
                return
            stars = [i for i in self.stars if i < time]
            if name not in BUILTINS:
                for star in stars:
                    self.selection.used.setdefault(star, set()).add("*")
                    self._push(star, lambda i=star: self._keep(i, f"may bind `{name}`"))  # type: ignore[misc]
            if stars:
                return
            if name not in BUILTINS:
                self.selection.missing.setdefault(name, (index, needer))
            return
        for binding in found:
            self.selection.used.setdefault(binding.index, set()).add(name)
            verb = "is" if name == self.target and needer == "the object itself" else f"binds `{name}`, which"
            reason = "binds the object itself" if verb == "is" else f"{verb} {needer} needs"
            self._push(binding.index, lambda b=binding, r=reason: self._keep(b.index, r))  # type: ignore[misc]
            self._need_values(binding.values, time, f"`{name}`")

    def _need_by_pattern(self, name: str, time: int) -> bool:
        """Statements that may bind the name by a text they make: `exec(f"v{i} = 1")`."""
        found = False
        for index, pattern in self.patterns:
            if index < time and index not in self.skipped and re.fullmatch(pattern, name):
                found = True
                self.selection.used.setdefault(index, set()).add(name)
                self.records[index].hidden.setdefault(name, f'globals()["{name}"]')
                self._push(index, lambda i=index: self._keep(i, f"may bind `{name}`"))  # type: ignore[misc]
        return found

    def _need_deletion(self, name: str, time: int) -> None:
        """A deleted name that hid a built-in one: the deletion counts."""
        if name not in BUILTINS:
            return
        position = bisect_left(self.positions.get(name, []), time)
        if position and self.machine.bindings[name][position - 1].deleted:
            index = self.machine.bindings[name][position - 1].index
            self._push(index, lambda: self._keep(index, f"deletes `{name}`, which hid a built-in one"))

    def _need_values(self, values: Values, moment: int, name: str) -> None:
        for value in values:
            # What is made later than the need is not meant, though it may come to be held by the same object.
            if value.kind == "text" or value.made >= moment:
                continue
            # A library's state is shared with whatever the object calls later.
            time = self.end if value.kind == "import" else moment
            if self.visited.get(value, -1) < time:
                self._push(time, lambda v=value, t=time, n=name: self._need_value(v, t, n))  # type: ignore[misc]
            elif value in self.varying:
                key = (value, bisect_left(self.epochs, time))
                if key not in self.again:
                    self.again.add(key)
                    self._push(time, lambda v=value, t=time, n=name: self._need_value(v, t, n, True))  # type: ignore[misc]

    # Objects.
    def _need_imports(self, value: Value) -> None:
        """Libraries that a function imports when it runs."""
        for module in value.scope.imports:
            root = self.machine.imports.get(library(module))
            if root is not None:
                self._need_values(frozenset((root,)), self.end, f"`{module}`")

    def _need_value(self, value: Value, time: int, name: str, again: bool = False) -> None:
        if not again and self.visited.get(value, -1) >= time:
            return
        if not again:
            before = self.visited.get(value, -1)
            self.visited[value] = time
            self.selection.values.add(value)
            for change in value.changes:
                if before <= change.index < time:
                    self._consider(value, change, name)
        self._need_values(frozenset(value.same), time, name)
        label = f"`{value.name}`" if value.kind in {"function", "class"} and value.name else name
        self._need_values(frozenset(value.holds), time, label)
        if value.kind in {"function", "class"}:
            self._need_body(value, time, label)

    def _need_body(self, value: Value, time: int, label: str) -> None:
        scope = value.scope
        for read in scope.reads:
            local = self._enclosed(value, read)
            if local is not None:
                self._need_values(local, time, label)
            elif read not in scope.writes or self.reaching(read, time):
                self._need_name(read, time, label, value.made)
        self._need_imports(value)
        files = [self.machine.files.get(text.removeprefix("./")) for text in scope.files]
        self._need_values(frozenset(file for file in files if file is not None), self.end, label)
        if scope.dynamic:
            self._need_by_text(label, value.made)
        for write in scope.writes:
            if self.reaching(write, time):
                self._need_name(write, time, label, value.made)
        for hint in scope.hints:
            if self._enclosed(value, hint) is None and self.reaching(hint, time):
                self._need_name(hint, time, label, value.made)

    def _need_by_text(self, label: str, index: int) -> None:
        """Code that finds names by their text may find any definition, import or constant."""
        if self.by_text:
            return
        self.by_text = True
        for name in self.machine.bindings:
            found = self.reaching(name, self.end)
            if found and all(self._plain(binding) for binding in found) and self._complete(name, set()):
                self._need_name(name, self.end, f"text run by {label}", index)

    def _plain(self, binding: Binding) -> bool:
        node = self.reading.statements[binding.index].node
        if isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        ):
            return not any(value.kind in {"opaque", "container"} for value in binding.values)
        return isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.UnaryOp))

    def _complete(self, name: str, seen: set[str]) -> bool:
        """Whether everything that `name` needs is there."""
        if name in seen or name in BUILTINS:
            return True
        seen.add(name)
        found = self.reaching(name, self.end)
        needed: set[str] = set()
        for binding in found:
            needed.update(self.records[binding.index].reads)
            for value in binding.values:
                if value.kind == "function":
                    needed.update(read for read in value.scope.reads if self._enclosed(value, read) is None)
                elif value.kind == "class":
                    for member in value.holds:
                        needed.update(member.scope.reads if member.kind == "function" else ())
        return bool(found) and all(self._complete(other, seen) for other in needed)

    def _enclosed(self, value: Value, name: str) -> Values | None:
        frame = value.frame
        while frame is not None:
            if frame.kind != "class" and name in frame.locals:
                return frame.locals[name]
            frame = frame.parent
        return None

    def _consider(self, value: Value, change: Change, name: str) -> None:
        """Keep a statement that changes a needed object, unless it merely uses the captured one."""
        index = change.index
        if index in self.skipped or index in self.selection.kept:
            return
        if value.kind == "import" and "(random state)" in value.name:
            state = value.name.partition(" ")[0]
            if state not in self.machine.seeded:
                return
        if self.subject.demo(change.call):
            self.selection.demos.setdefault(index, f"a demo call of `{self.target}`, which changed {name}")
            return
        if self.reading.statements[index].guarded is not None and not self._ran_before_it_stopped(
            index, change
        ):
            return
        if any(prompt.kind == "input" for prompt in self.records[index].prompts) and (
            not change.sure or converses(change.call) or chats(self.records[index], change.call)
        ):
            self.selection.demos.setdefault(index, "it talks with whoever runs the notebook")
            return
        if not change.sure:
            if self.records[index].externals or "get_ipython" in self.records[index].reads:
                # It surely acts outside the process, which must not happen again at each start.
                return
            self.selection.unsure.add(index)
        verb = "changes" if change.sure else "may change"
        self._push(index, lambda i=index, r=f"{verb} {name}": self._keep(i, r))  # type: ignore[misc]

    def _ran_before_it_stopped(self, index: int, change: Change) -> bool:
        """Whether a statement that raised may have changed something before it did."""
        statement, record = self.reading.statements[index], self.records[index]
        if not change.sure or any(not self.reaching(n, index) and n not in BUILTINS for n in record.reads):
            return False
        return hasattr(statement.node, "body") or record.follows

    # Statements.
    def _keep(self, index: int, reason: str) -> None:
        if index in self.selection.kept:
            return
        self.selection.kept[index] = reason
        self.selection.demos.pop(index, None)
        record = self.records[index]
        if record.dynamic:
            self.selection.dynamic[index] = record.dynamic
        label = self._label(index)
        for name in record.reads:
            self._need_name(name, index, label, index)
        for name in record.soft:
            if self.reaching(name, index):
                self._need_name(name, index, label, index)
        for hint in record.hints:
            if self.reaching(hint, self.end):
                self._need_name(hint, self.end, label, index)
        for name in record.deleted:
            self.selection.used.setdefault(index, set()).add(name)
        for state in record.draws:
            self._need_values(frozenset((self.machine.random_state(state),)), index, f"`{state}`")

    def _label(self, index: int) -> str:
        names = [n for n in self.records[index].binds if n in self.selection.used.get(index, ())]
        if names:
            return f"`{names[0]}`"
        return f"`{self.reading.statements[index].text[:40]}`"

    # Which functions see different things at different times.
    def _varying(self) -> tuple[set[Value], list[int]]:
        """Objects whose functions read a name that is bound more than once."""
        values: set[Value] = set()
        todo = [
            value for found in self.machine.bindings.values() for binding in found for value in binding.values
        ]
        behind: dict[Value, list[Value]] = {}
        sources: set[Value] = set()
        names: set[str] = set()
        while todo:
            value = todo.pop()
            if value in values:
                continue
            values.add(value)
            ahead = [*value.holds, *value.same]
            if value.kind in {"function", "class"}:
                for name in value.scope.reads:
                    found = self.machine.bindings.get(name, ())
                    if len(found) > 1:
                        sources.add(value)
                        names.add(name)
                    ahead.extend(other for binding in found for other in binding.values)
            for other in ahead:
                behind.setdefault(other, []).append(value)
                todo.append(other)
        varying: set[Value] = set()
        stack = list(sources)
        while stack:
            value = stack.pop()
            if value not in varying:
                varying.add(value)
                stack.extend(behind.get(value, ()))
        return varying, sorted({b.index for name in names for b in self.machine.bindings[name]})
