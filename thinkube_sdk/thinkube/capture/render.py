"""Kept statements as one readable module, line for line traceable to their cells."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from thinkube.capture.frozen import Frozen
from thinkube.capture.machine import BUILTINS
from thinkube.capture.needs import Selection
from thinkube.capture.reading import Reading
from thinkube.capture.signatures import IMPORTED_FOR_EFFECT
from thinkube.capture.statements import Statement
from thinkube.capture.trees import walk
from thinkube.capture.values import Record
from thinkube.model.capture import Origin

_AWAITING = '''\
_loop = _asyncio.new_event_loop()
_threading.Thread(target=_loop.run_forever, daemon=True).start()


def _finish(coroutine):
    """Run what the notebook awaited at its top level, also where a loop is already running."""
    return _asyncio.run_coroutine_threadsafe(coroutine, _loop).result()
'''


@dataclass
class Piece:
    """Lines of the module, each with the line of the cell it came from.

    Attributes:
        tight: whether it may stand directly under the piece before it.
    """

    lines: list[str]
    origins: list[Origin | None]
    cell: str
    wide: bool = False
    barrier: bool = False
    imports: bool = False
    index: int = -1


@dataclass
class Module:
    """The text of the module and where each line came from."""

    lines: list[str] = field(default_factory=list)
    origins: list[Origin | None] = field(default_factory=list)

    def add(self, lines: Iterable[str], origins: Iterable[Origin | None] | None = None) -> None:
        new = list(lines)
        self.lines.extend(new)
        self.origins.extend(origins if origins is not None else [None] * len(new))

    def space(self, blank: int) -> None:
        while self.lines and not self.lines[-1]:
            self.lines.pop()
            self.origins.pop()
        if self.lines:
            self.add([""] * blank)


class Renderer:
    """Write the module."""

    def __init__(
        self, reading: Reading, selection: Selection, replaced: dict[int, str], frozen: dict[str, Frozen]
    ) -> None:
        self.reading = reading
        self.selection = selection
        self.replaced = replaced
        self.frozen = frozen
        self.order = sorted({*selection.kept, *selection.loads.values()})
        self.awaits = False
        self.futures: dict[str, Origin] = {}
        # For each name, the first statements that bind it, one for each meaning: two are enough to compare.
        self.binders: dict[str, dict[str, int]] = {}
        for index in self.order:
            for name in reading.records[index].binds:
                meanings = self.binders.setdefault(name, {})
                if len(meanings) < 2:
                    meanings.setdefault(self._meaning(index), index)

    def render(self, title: str, extra: Collection[str] = ()) -> Module:
        """The whole module, under a docstring."""
        top: list[Piece] = []
        body: list[Piece] = []
        seen = set(extra)
        barrier = False
        for index in self.order:
            loads = self._loads(index)
            piece = self._piece(index) if index in self.selection.kept else None
            if piece is None:
                body.extend(loads)
                continue
            if piece.imports and not barrier and self._may_rise(index):
                text = "\n".join(piece.lines)
                if text not in seen:
                    seen.add(text)
                    top.append(piece)
                continue
            barrier = barrier or piece.barrier
            body.append(piece)
            body.extend(loads)
        module = Module()
        module.add([f'"""{title}"""', ""])
        for feature, origin in self.futures.items():
            module.add([f"from __future__ import {feature}"], [origin])
        if self.futures:
            module.add([""])
        ours = [
            *(["import asyncio as _asyncio", "import threading as _threading"] if self.awaits else []),
            *extra,
        ]
        module.add(ours)
        for piece in top:
            module.add(piece.lines, piece.origins)
        if self.awaits:
            module.space(1)
            module.add(_AWAITING.rstrip().split("\n"))
        self._body(module, body)
        while module.lines and not module.lines[-1]:
            module.lines.pop()
            module.origins.pop()
        return module

    def _body(self, module: Module, body: list[Piece]) -> None:
        cell = ""
        wide = False
        for piece in body:
            if piece.cell != cell:
                module.space(2 if wide or piece.wide or not cell else 1)
                module.add([f"# {piece.cell}"])
                cell = piece.cell
            elif wide or piece.wide:
                module.space(2)
            module.add(piece.lines, piece.origins)
            wide = piece.wide

    def _may_rise(self, index: int) -> bool:
        """Whether an import means the same at the top: nothing kept binds or reads its names before it."""
        mine = self._meaning(index)
        return not any(
            name in BUILTINS
            or any(first < index for key, first in self.binders.get(name, {}).items() if key != mine)
            for name in self.reading.records[index].binds
        )

    def _meaning(self, index: int) -> str:
        """What an import says, so that the same one again can be told; other statements say their own."""
        node = self.reading.statements[index].node
        return ast.dump(node) if isinstance(node, (ast.Import, ast.ImportFrom)) else str(index)

    def _loads(self, index: int) -> list[Piece]:
        """Frozen values that take this statement's place."""
        statement = self.reading.statements[index]
        origin = Origin(statement.block.name, statement.start)
        names = [name for name, place in self.selection.loads.items() if place == index]
        return [
            Piece([self.frozen[name].load], [origin], statement.block.name, index=index) for name in names
        ]

    def _piece(self, index: int) -> Piece | None:
        statement, record = self.reading.statements[index], self.reading.records[index]
        node = statement.node
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return self._import(statement, record, node)
        lines, origins = source_lines(statement, self.replaced, dropped_nodes(statement, record))
        if record.awaits:
            lines, origins = self._awaited(statement, record, lines, origins)
        if statement.guarded is not None:
            lines, origins = _guarded(statement, lines, origins)
        hidden = sorted(record.hidden.keys() & self.selection.used.get(index, set()))
        lines += [f"{name} = {record.hidden[name]}" for name in hidden]
        origins += [None] * len(hidden)
        wide = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or record.awaits
        barrier = bool(record.always or record.environment or record.dynamic) or any(
            value.kind in {"import", "file"} for value in record.changed
        )
        return Piece(lines, origins, statement.block.name, wide, barrier, index=index)

    def _import(
        self, statement: Statement, record: Record, node: ast.Import | ast.ImportFrom
    ) -> Piece | None:
        origin = Origin(statement.block.name, statement.start)
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            for alias in node.names:
                self.futures.setdefault(alias.name, origin)
            return None
        used = self.selection.used.get(statement.index, set())
        if any(alias.name == "*" for alias in node.names):
            return self._star(statement, record, node, used, origin)
        aliases = [
            a
            for a in node.names
            if (a.asname or a.name.partition(".")[0] if isinstance(node, ast.Import) else a.asname or a.name)
            in used
        ]
        lines, origins = source_lines(statement, {}, ())
        if not aliases:
            lines, origins = [line for line in lines if not line.startswith("#")][:1], [origin]
            if "noqa" not in lines[0]:
                lines[0] += "  # noqa: F401"
        elif len(aliases) < len(node.names):
            trimmed = (
                ast.Import(aliases)
                if isinstance(node, ast.Import)
                else ast.ImportFrom(node.module, aliases, node.level)
            )
            lines, origins = [ast.unparse(trimmed)], [origin]
        barrier = any(a.name.partition(".")[0] in IMPORTED_FOR_EFFECT for a in node.names)
        return Piece(
            lines, origins, statement.block.name, imports=True, index=statement.index, barrier=barrier
        )

    def _star(
        self,
        statement: Statement,
        record: Record,
        node: ast.Import | ast.ImportFrom,
        used: set[str],
        origin: Origin,
    ) -> Piece:
        lines, origins = source_lines(statement, {}, ())
        if "*" not in used and isinstance(node, ast.ImportFrom):
            names = [name for name in record.binds if name in used]
            lines, origins = (
                [f"from {'.' * node.level}{node.module or ''} import {', '.join(names)}"],
                [origin],
            )
        return Piece(lines, origins, statement.block.name, imports=True, index=statement.index)

    def _awaited(
        self, statement: Statement, record: Record, lines: list[str], origins: list[Origin | None]
    ) -> tuple[list[str], list[Origin | None]]:
        """A statement that awaits, as a coroutine that is finished at once."""
        self.awaits = True
        if isinstance(statement.node, ast.AnnAssign) and statement.node.value is not None:
            plain = ast.Assign([statement.node.target], statement.node.value, lineno=1)
            lines, origins = [ast.unparse(plain)], origins[:1]
        name = f"_awaited_{statement.index}"
        inner = indented(statement, lines, origins)
        bound = sorted({*record.binds, *record.deleted})
        head = [f"async def {name}():", *([f"    global {', '.join(bound)}"] if bound else [])]
        tail = ["", "", f"_finish({name}())"]
        return [*head, *inner, *tail], [*[None] * len(head), *origins, *[None] * len(tail)]


def _guarded(
    statement: Statement, lines: list[str], origins: list[Origin | None]
) -> tuple[list[str], list[Origin | None]]:
    """A statement that an exception ended half way, ended the same way."""
    inner = indented(statement, lines, origins)
    tail = [
        f"except Exception:  # {statement.guarded} stopped it in the notebook as well",
        "    pass",
        "else:",
        f"    raise RuntimeError({f'{statement.block.name}, line {statement.start} did not stop here'!r})",
    ]
    return ["try:", *inner, *tail], [None, *origins, *[None] * 4]


def indented(statement: Statement, lines: list[str], origins: list[Origin | None]) -> list[str]:
    """Lines one step to the right, but for those that begin inside a string."""
    return [
        line if not line or (origin is not None and origin.line in statement.block.fixed) else f"    {line}"
        for line, origin in zip(lines, origins, strict=True)
    ]


def dropped_nodes(statement: Statement, record: Record) -> tuple[ast.stmt, ...]:
    """Statements inside a kept block whose only effect is outside the process."""
    return tuple(
        external.node
        for external in record.externals
        if external.node is not statement.node and isinstance(external.node, ast.Expr)
    )


def source_lines(
    statement: Statement, replaced: dict[int, str], dropped: Iterable[ast.stmt]
) -> tuple[list[str], list[Origin | None]]:
    """A statement's own text, comments included, with parts of it replaced."""
    block, node = statement.block, statement.node
    origin = Origin(block.name, statement.start)
    if statement.head:
        return [statement.head], [origin]
    lines = list(block.lines[statement.above - 1 : statement.end])
    edits = [(part, replaced[id(part)]) for part in walk(node) if id(part) in replaced] if replaced else []
    edits += [(part, "pass") for part in dropped]
    alone = _alone(statement)
    numbers = list(range(statement.above, statement.end + 1))
    if not alone:
        numbers = list(range(node.lineno, statement.end + 1))
        lines = list(block.lines[node.lineno - 1 : statement.end])
        lines[-1] = lines[-1].encode()[: node.end_col_offset].decode()
        lines[0] = " " * node.col_offset + lines[0].encode()[node.col_offset :].decode()
    for part, text in sorted(edits, key=lambda e: (-e[0].lineno, -e[0].col_offset)):  # type: ignore[attr-defined]
        _edit(lines, numbers, part, text)
    margin = statement.dedent if alone else node.col_offset
    if margin:
        lines = [
            line if number in block.fixed else line[min(margin, len(line) - len(line.lstrip())) :]
            for line, number in zip(lines, numbers, strict=True)
        ]
    if lines[-1].endswith(";"):
        lines[-1] = lines[-1].rstrip("; ")
    return [
        line.rstrip() if n + 1 not in block.fixed else line for line, n in zip(lines, numbers, strict=True)
    ], [Origin(block.name, number) for number in numbers]


def _alone(statement: Statement) -> bool:
    """Whether no other statement shares the statement's lines."""
    node, lines = statement.node, statement.block.lines
    first = lines[node.lineno - 1].encode()
    if first[: node.col_offset].strip():
        return False
    rest = lines[statement.end - 1].encode()[node.end_col_offset or 0 :].strip().lstrip(b"; ")
    return not rest or rest.startswith(b"#")


def _edit(lines: list[str], numbers: list[int], part: ast.AST, text: str) -> None:
    """Put `text` in the place of a node, keeping the number of lines."""
    first, last = numbers.index(part.lineno), numbers.index(part.end_lineno)  # type: ignore[attr-defined]
    before = lines[first].encode()[: part.col_offset].decode()  # type: ignore[attr-defined]
    after = lines[last].encode()[part.end_col_offset :].decode()  # type: ignore[attr-defined]
    lines[first] = before + text + (after if first == last else "")
    for place in range(first + 1, last + 1):
        lines[place] = after if place == last and after.strip() else ""
