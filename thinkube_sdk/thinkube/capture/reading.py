"""From a trace to statements, each with what following it told."""

from __future__ import annotations

import ast
import json
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path

from thinkube.capture import signatures as known
from thinkube.capture.flow import constant_test
from thinkube.capture.follow import Follower
from thinkube.capture.local import LocalModules
from thinkube.capture.magics import Note, to_python
from thinkube.capture.statements import Block, Statement, block_of, split
from thinkube.capture.trace import Cell, Trace
from thinkube.capture.values import Binding, Record
from thinkube.model.capture import Origin

_PLACEHOLDER_SECRET = re.compile(r"""os\.environ\[\s*["'](\w+)["']\s*\]\s*=\s*<""")


@dataclass(frozen=True)
class Unreadable:
    """A cell that isn't Python: it never ran, so it contributes nothing."""

    cell: Cell
    line: int
    message: str
    text: str


@dataclass
class Reading:
    """A whole trace, followed.

    Attributes:
        machine: names and objects at the end.
        statements: in order; `records` has what each does, at the same index.
        notes: notebook syntax, with its place.
        requirements: what pip was asked for, in order.
        written: files that `%%writefile` made.
        unreadable: cells that don't parse.
        secrets: variables that such a cell would have filled.
        ran: scripts that `%run` ran, by the name they were called.
    """

    machine: Follower
    statements: list[Statement] = field(default_factory=list)
    notes: list[tuple[Origin, Note]] = field(default_factory=list)
    requirements: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    secrets: dict[str, None] = field(default_factory=dict)
    ran: list[tuple[str, Path]] = field(default_factory=list)
    stopped: list[tuple[Statement, str]] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        return self.machine.records


class NotebookFollower(Follower):
    """A follower that knows the modules beside the notebook."""

    def __init__(self, modules: LocalModules) -> None:
        super().__init__()
        self.modules = modules

    def is_local(self, module: str) -> bool:
        return self.modules.find(module) is not None

    def search_path(self, folder: str) -> None:
        self.modules.search(folder)

    def public_names(self, module: str) -> tuple[str, ...]:
        return self.modules.public_names(module)


def read(trace: Trace) -> Reading:
    """Follow every statement of a trace."""
    modules = LocalModules(trace.folder)
    reading = Reading(NotebookFollower(modules))
    reading.machine.lists_subclasses = any("__subclasses__" in cell.text for cell in trace.cells)
    for cell in trace.cells:
        _read_cell(reading, cell, trace, modules)
    return reading


def _read_cell(reading: Reading, cell: Cell, trace: Trace, modules: LocalModules) -> None:
    if not cell.python:
        reading.notes.append((Origin(cell.name, 1), Note(1, _first(cell.text), "another language")))
        return
    source = to_python(cell.text)
    reading.notes.extend((Origin(cell.name, note.line), note) for note in source.notes)
    reading.requirements.extend(source.requirements)
    for path, content in source.writes.items():
        earlier = reading.written.get(path, "") if content.startswith("\0") else ""
        reading.written[path] = earlier + content.lstrip("\0")
        modules.written(path, reading.written[path])
    try:
        tree = source.tree or ast.parse(source.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        message = getattr(error, "msg", None) or str(error) or type(error).__name__
        reading.unreadable.append(Unreadable(cell, line, message, cell.text))
        reading.secrets.update(dict.fromkeys(_PLACEHOLDER_SECRET.findall(cell.text)))
        return
    stray = next((node for node in tree.body if isinstance(node, ast.Return)), None)
    if stray is not None:
        reading.unreadable.append(Unreadable(cell, stray.lineno, "'return' outside function", cell.text))
        return
    if source.reset is not None:
        _forget(reading)
    block = block_of(cell, source.text, tree)
    for statement in split(block, tree.body, len(reading.statements)):
        if (
            cell.stopped is not None
            and statement.end >= cell.stopped
            and not _surely_ran(statement, cell.stopped)
        ):
            if statement.start <= cell.stopped and cell.error is not None:
                reading.stopped.append((statement, cell.error))
                _read_statement(reading, replace(statement, guarded=cell.error))
            elif cell.error is not None:
                reading.stopped.append((statement, cell.error))
            break
        if statement.start in source.runs and isinstance(statement.node, ast.Pass):
            _run_file(reading, source.runs[statement.start], trace, modules)
        _read_statement(reading, statement)


def _first(text: str) -> str:
    return next((line.strip() for line in text.split("\n") if line.strip()), "")[:120]


def _surely_ran(statement: Statement, line: int) -> bool:
    """Whether a statement that shares its line with the one that raised can't have raised itself."""
    node = statement.node
    last = statement.block.lines[line - 1].encode()[(node.end_col_offset or 0) :].strip()
    simple = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    raised = re.search(rb";\s*raise\s+(?:\w+\.)*(\w+)", last)
    thrown = raised is not None and raised[1].decode() == statement.block.cell.error
    return statement.end == line and (simple or thrown) and last.startswith(b";") and bool(last.strip(b"; "))


def _forget(reading: Reading) -> None:
    index = len(reading.statements)
    for bindings in reading.machine.bindings.values():
        bindings.append(Binding(index - 1, frozenset(), strong=True, deleted=True))
    reading.machine.now.clear()


def _run_file(reading: Reading, command: str, trace: Trace, modules: LocalModules) -> None:
    try:
        name, *arguments = shlex.split(command)
    except ValueError:
        name, *arguments = command.split()
    path = trace.folder / name
    for candidate in (path, path.with_name(path.name + ".py"), path.with_name(path.name + ".ipynb")):
        if candidate.is_file():
            break
    else:
        return
    text = candidate.read_text(encoding="utf-8", errors="replace")
    if candidate.suffix != ".ipynb":
        reading.ran.append((name, candidate))
        if arguments and re.search(r"\b(argv|argparse|parse_args|fire|click|typer|docopt)\b", text):
            text = f"import sys; sys.argv = {[name, *arguments]!r}\n{text}"
        _read_cell(reading, Cell(name, text), trace, modules)
        return
    try:
        cells = json.loads(text)["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        return
    for number, body in enumerate(texts, 1):
        _read_cell(reading, Cell(f"{name} cell {number}", body), trace, modules)


def _read_statement(reading: Reading, statement: Statement) -> None:
    lifted = _lift(reading, statement) if statement.guarded is None else None
    if lifted is not None:
        for inner in lifted:
            _read_statement(reading, inner)
        return
    index = len(reading.statements)
    statement = replace(statement, index=index) if statement.index != index else statement
    reading.statements.append(statement)
    shown = statement.shown or "" if statement.last and isinstance(statement.node, ast.Expr) else ""
    reading.machine.statement_record(index, statement.node, shown, stopped=statement.guarded is not None)


def _lift(reading: Reading, statement: Statement) -> list[Statement] | None:
    """The statements of a block that surely runs once: `if True:`, `with mlflow.start_run():`."""
    node = statement.node
    body: list[ast.stmt] | None = None
    before: list[Statement] = []
    if isinstance(node, ast.If):
        outcome = constant_test(node.test)
        if outcome is None:
            return None
        body = node.body if outcome else node.orelse
        if not body:
            return None
    elif isinstance(node, ast.With) and all(_observes(reading, item) for item in node.items):
        body = node.body
        before = [_header(statement, item) for item in node.items]
    if not body:
        return None
    first = body[0]
    if first.lineno == node.lineno:
        return None
    dedent = first.col_offset
    block = statement.block
    inner = list(
        split(Block(block.name, block.lines, block.cell, block.fixed, statement.pragma), body, 0, dedent)
    )
    return [*before, *inner]


def _header(statement: Statement, item: ast.withitem) -> Statement:
    """Entering an observing context, as a statement of its own."""
    node: ast.stmt
    if item.optional_vars is not None:
        node = ast.Assign([item.optional_vars], item.context_expr, lineno=statement.start, col_offset=0)
    else:
        node = ast.Expr(item.context_expr)
    ast.copy_location(node, item.context_expr)
    return replace(statement, node=node, end=statement.start, above=statement.start, head=ast.unparse(node))


def _observes(reading: Reading, item: ast.withitem) -> bool:
    call = item.context_expr
    if not isinstance(call, ast.Call):
        return False
    names: list[str] = []
    inner = call.func
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name):
        return False
    found = reading.machine.now.get(inner.id, frozenset())
    dotted = [".".join([value.name, *reversed(names)]) for value in found if value.kind == "import"]
    return bool(dotted) and all(known.OBSERVERS.match(name) for name in dotted)


def folder_of(path: Path) -> Path:
    """The folder a notebook's relative paths start from."""
    return path.parent.absolute()
