"""Files that go along with the source: local modules, written files, data that is read."""

from __future__ import annotations

import ast
from pathlib import Path

from thinkube.capture.credentials import refuse_credentials
from thinkube.capture.local import LocalModules
from thinkube.capture.needs import Selection
from thinkube.capture.reading import NotebookFollower, Reading
from thinkube.capture.stale import refuse_deleted, refuse_stale
from thinkube.capture.trace import Trace
from thinkube.capture.trees import walk
from thinkube.model.capture import CapturedFile, Origin
from thinkube.model.errors import SourceRefused

LARGEST = 50 * 1024 * 1024


def shipped_files(
    reading: Reading, selection: Selection, nodes: list[ast.AST], trace: Trace
) -> tuple[tuple[CapturedFile, ...], list[ast.AST]]:
    """What ships beside the source, and the syntax trees of the modules among it."""
    machine = reading.machine
    assert isinstance(machine, NotebookFollower)
    files: dict[str, CapturedFile] = {}
    local: list[ast.AST] = []
    todo = [nodes]
    while todo:
        current = todo.pop()
        for module in imported_modules(current):
            found_at = machine.modules.find(module)
            if trace.live is not None and found_at is None:
                refuse_deleted(module.partition(".")[0], trace.folder)
            if trace.live is not None and found_at is not None:
                base = trace.folder / found_at
                files_of_it = [base] if base.suffix == ".py" else sorted(base.rglob("*.py"))
                refuse_stale(files_of_it, _patched(reading))
            for path, content in machine.modules.files(module).items():
                if path in files:
                    continue
                files[path] = CapturedFile(path, content, f"the local module `{module.partition('.')[0]}`")
                if path.endswith(".py"):
                    try:
                        found = walk(ast.parse(content.decode("utf-8", "replace")))
                    except (SyntaxError, ValueError):
                        continue
                    refuse_credentials(found, [Origin(path, n) for n in range(1, content.count(b"\n") + 2)])
                    local.extend(found)
                    todo.append(found)
    rebuilt = {
        value.name
        for value in machine.files.values()
        if any(change.index in selection.kept for change in value.changes)
    }
    for name in sorted(path_constants([*nodes, *local]) - rebuilt):
        files.update(_data(name, trace.folder, machine.modules))
    return tuple(files[path] for path in sorted(files)), local


def _patched(reading: Reading) -> set[str]:
    """Attributes that some statement of the notebook binds."""
    return {
        part.attr
        for statement in reading.statements
        if not isinstance(statement.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        for part in walk(statement.node)
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, (ast.Store, ast.Del))
    }


def imported_modules(nodes: list[ast.AST]) -> list[str]:
    """Dotted names a module imports, in order."""
    found: dict[str, None] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found[node.module] = None
    return list(found)


def path_constants(nodes: list[ast.AST]) -> set[str]:
    """Strings that may name a file: arguments and values, joined where the source joins them."""
    known: dict[str, str] = {}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            text = _folded(node.value, known)
            if text is not None:
                known[node.targets[0].id] = text
                found.add(text)
    for node in nodes:
        given: list[ast.expr] = []
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords), node]
        elif isinstance(node, ast.BinOp):
            given = [node, node.right] if isinstance(node.op, ast.Div) else [node]
        elif isinstance(node, (ast.List, ast.Tuple)):
            given = node.elts
        elif isinstance(node, ast.arguments):
            given = [default for default in [*node.defaults, *node.kw_defaults] if default is not None]
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.Dict)):
            given = list(node.values) if isinstance(node, ast.Dict) else []
        found.update(text for part in given if (text := _folded(part, known)) is not None)
    return {
        text.removeprefix("./")
        for text in found
        if text and len(text) < 300 and "\n" not in text and "\0" not in text
    }


def _folded(node: ast.expr, known: dict[str, str]) -> str | None:
    """The text of an expression that joins constant parts of a path."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add)):
        left, right = _folded(node.left, known), _folded(node.right, known)
        if left is None or right is None:
            return None
        return f"{left.rstrip('/')}/{right}" if isinstance(node.op, ast.Div) else left + right
    if isinstance(node, ast.JoinedStr):
        parts = [
            _folded(part.value if isinstance(part, ast.FormattedValue) else part, known)
            for part in node.values
        ]
        return None if None in parts else "".join(part for part in parts if part is not None)
    if isinstance(node, ast.Call) and node.args and not node.keywords:
        name = ast.unparse(node.func)
        parts = [_folded(part, known) for part in node.args]
        if name in {"Path", "pathlib.Path", "os.path.join", "str"} and None not in parts:
            return "/".join(part.rstrip("/") for part in parts if part is not None)
    return None


def _data(name: str, folder: Path, modules: LocalModules) -> dict[str, CapturedFile]:
    if name in modules.texts:
        return {
            name: CapturedFile(name, modules.texts[name].encode(), "written by a cell and read by kept code")
        }
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        return {}
    if any(sign in name for sign in "*?["):
        found: dict[str, CapturedFile] = {}
        try:
            matches = sorted(folder.glob(name))
        except (ValueError, NotImplementedError, OSError):
            return {}
        for match in matches:
            found.update(
                _data(match.relative_to(folder).as_posix(), folder, modules) if match.is_file() else {}
            )
        return found
    path = folder / relative
    paths = _files_at(path)
    if not paths or path == folder:
        return {}
    total = sum(p.stat().st_size for p in paths)
    if total > LARGEST:
        raise SourceRefused(
            f"Kept code reads `{name}`, which has {total // 2**20} MiB; data of at most "
            f"{LARGEST // 2**20} MiB ships.",
            "Put it where the deployment can fetch it, or load only the part that is needed.",
        )
    return {
        p.relative_to(folder).as_posix(): CapturedFile(
            p.relative_to(folder).as_posix(), p.read_bytes(), "data that kept code reads"
        )
        for p in paths
    }


def _files_at(path: Path) -> list[Path]:
    """The file, or the files of the folder; none where a text only looked like a path."""
    try:
        if path.is_file():
            return [path]
        return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else []
    except (OSError, ValueError):
        return []
