"""What a linter would ask about in the finished module."""

from __future__ import annotations

import ast

from thinkube.capture.machine import BUILTINS
from thinkube.capture.needs import Selection
from thinkube.capture.reading import Reading
from thinkube.capture.render import Module
from thinkube.capture.trees import walk


def drop_unused_imports(reading: Reading, selection: Selection, module: Module) -> bool:
    """Take out imports that only served what was replaced; tells whether there were any."""
    try:
        tree = ast.parse("\n".join(module.lines))
    except SyntaxError:
        return False
    loaded = {node.id for node in walk(tree) if isinstance(node, ast.Name)}
    found = False
    for index in list(selection.kept):
        if isinstance(reading.statements[index].node, (ast.Import, ast.ImportFrom)):
            used = selection.used.get(index, set())
            unused = used - loaded - {"*"}
            if unused:
                found = True
                used -= unused
                if not used:
                    del selection.kept[index]
    return found


def mark_oddities(reading: Reading, selection: Selection, module: Module, tree: ast.Module) -> None:
    """Mark what is right although it looks wrong: imports found by text, annotations never evaluated."""
    machine = reading.machine
    if machine.lazy_annotations:
        _mark_unknown_annotations(module, tree, set(machine.bindings))
    unhidden = {n for i in selection.kept for n in reading.records[i].deleted if n in BUILTINS}
    marked = {
        n.lineno
        for n in walk(tree)
        if isinstance(n, ast.Name) and n.id in unhidden and isinstance(n.ctx, ast.Load)
    }
    for line in marked:
        module.lines[line - 1] += "  # noqa: F821"
    if not any(reason.startswith("binds") and "text run by" in reason for reason in selection.kept.values()):
        return
    top = {id(node) for node in tree.body}
    inner = {
        alias.asname or alias.name
        for node in walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in top
        for alias in node.names
    }
    loaded = {node.id for node in walk(tree) if isinstance(node, ast.Name)} - inner
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", "") != "__future__":
            names = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if names - loaded and "noqa" not in module.lines[node.lineno - 1]:
                module.lines[node.lineno - 1] += "  # noqa: F401"


def _mark_unknown_annotations(module: Module, tree: ast.Module, bound: set[str]) -> None:
    """Annotations that nothing evaluates may name things that don't exist."""
    marked: set[int] = set()
    for node in walk(tree):
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if annotation is None:
            continue
        for part in walk(annotation):
            if isinstance(part, ast.Name) and part.id not in bound and part.id not in BUILTINS:
                marked.add(part.lineno)
    for line in marked:
        module.lines[line - 1] += "  # noqa: F821"
