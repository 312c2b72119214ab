"""Files that go along with the source: local modules, written files, data that is read."""

from __future__ import annotations

import ast
from pathlib import Path

from thinkube.capture.local import LocalModules
from thinkube.capture.needs import Selection
from thinkube.capture.reading import NotebookFollower, Reading
from thinkube.capture.trace import Trace
from thinkube.model.capture import CapturedFile
from thinkube.model.errors import SourceRefused

LARGEST = 50 * 1024 * 1024


def shipped_files(
    reading: Reading, selection: Selection, tree: ast.AST, trace: Trace
) -> tuple[tuple[CapturedFile, ...], list[ast.AST]]:
    """What ships beside the source, and the syntax trees of the modules among it."""
    machine = reading.machine
    assert isinstance(machine, NotebookFollower)
    files: dict[str, CapturedFile] = {}
    trees: list[ast.AST] = []
    todo = [tree]
    while todo:
        current = todo.pop()
        for module in imported_modules(current):
            for path, content in machine.modules.files(module).items():
                if path in files:
                    continue
                files[path] = CapturedFile(path, content, f"the local module `{module.partition('.')[0]}`")
                if path.endswith(".py"):
                    try:
                        found = ast.parse(content.decode("utf-8", "replace"))
                    except (SyntaxError, ValueError):
                        continue
                    trees.append(found)
                    todo.append(found)
    for value in sorted(selection.values, key=lambda v: v.name):
        if value.kind == "file" and not any(change.index in selection.kept for change in value.changes):
            files.update(_data(value.name, trace.folder, machine.modules))
    return tuple(files[path] for path in sorted(files)), trees


def imported_modules(tree: ast.AST) -> list[str]:
    """Dotted names a module imports, in order."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found[node.module] = None
    return list(found)


def _data(name: str, folder: Path, modules: LocalModules) -> dict[str, CapturedFile]:
    if name in modules.texts:
        return {
            name: CapturedFile(name, modules.texts[name].encode(), "written by a cell and read by kept code")
        }
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        return {}
    path = folder / relative
    paths = (
        [path]
        if path.is_file()
        else sorted(p for p in path.rglob("*") if p.is_file())
        if path.is_dir()
        else []
    )
    if not paths or path == folder:
        return {}
    total = sum(p.stat().st_size for p in paths)
    if total > LARGEST:
        raise SourceRefused(
            f"Kept code reads `{name}`, which has {total // 2**20} MiB; data of at most {LARGEST // 2**20} MiB ships.",
            "Put it where the deployment can fetch it, or load only the part that is needed.",
        )
    return {
        p.relative_to(folder).as_posix(): CapturedFile(
            p.relative_to(folder).as_posix(), p.read_bytes(), "data that kept code reads"
        )
        for p in paths
    }
