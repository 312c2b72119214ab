"""Whether a module beside the notebook is still what the kernel imported."""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from thinkube.model.errors import SourceRefused


def refuse_stale(paths: Iterable[Path]) -> None:
    """Refuse local modules whose file was edited after the kernel imported it.

    Raises:
        SourceRefused: what would ship is not what the live object runs on.
    """
    loaded = {
        Path(file).resolve(): module
        for module in list(sys.modules.values())
        if isinstance(file := getattr(module, "__file__", None), str)
    }
    for path in paths:
        module = loaded.get(path.resolve())
        if module is not None and _edited(path, module):
            raise SourceRefused(
                f"{path.name} was edited after this kernel imported it, so the live object runs on the old "
                f"text.",
                f"Run importlib.reload({module.__name__}) and the cells that use it, or restart the kernel.",
            )


def _edited(path: Path, module: ModuleType) -> bool:
    cached = getattr(module.__spec__, "cached", None)
    if isinstance(cached, str) and Path(cached).is_file():
        flags, stamp, size = struct.unpack("<III", Path(cached).read_bytes()[4:16])
        status = path.stat()
        if flags == 0 and (stamp != int(status.st_mtime) & 0xFFFFFFFF or size != status.st_size & 0xFFFFFFFF):
            return True
    try:
        tree = ast.parse(path.read_bytes())
        code = compile(tree, str(path), "exec")
    except (SyntaxError, ValueError):
        return True
    return _other_code(code, module) or _other_values(tree, module)


def _other_code(code: CodeType, module: ModuleType) -> bool:
    """Whether a top-level function has other code than the file."""
    for part in code.co_consts:
        if isinstance(part, CodeType):
            live = getattr(module, part.co_name, None)
            if (
                isinstance(live, FunctionType)
                and live.__module__ == module.__name__
                and not _same(live.__code__, part)
            ):
                return True
    return False


def _same(one: CodeType, other: CodeType) -> bool:
    if one.co_name != other.co_name:
        return True
    if (one.co_code, one.co_names, len(one.co_consts)) != (
        other.co_code,
        other.co_names,
        len(other.co_consts),
    ):
        return False
    for mine, theirs in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(mine, CodeType) and isinstance(theirs, CodeType):
            if not _same(mine, theirs):
                return False
        elif type(mine) is not type(theirs) or mine != theirs:
            return False
    return True


def _other_values(tree: ast.Module, module: ModuleType) -> bool:
    """Whether a name that the file binds once, to a plain value, has another one in the kernel."""
    bound: dict[str, list[object]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.setdefault(node.id, [])
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.targets[0], ast.Name)
        ):
            bound[node.targets[0].id].append(node.value.value)
    stores = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    globals_too = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    return any(
        len(values) == 1
        and stores.count(name) == 1
        and name not in globals_too
        and getattr(module, name, values[0]) != values[0]
        for name, values in bound.items()
    )
