"""Whether a module beside the notebook is still what the kernel imported."""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, SimpleNamespace

from thinkube.model.errors import SourceRefused


def refuse_stale(paths: Iterable[Path], patched: Collection[str] = ()) -> None:
    """Refuse local modules whose file was edited after the kernel imported it.

    Args:
        paths: files of the modules.
        patched: attributes that the notebook itself binds somewhere.

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
        if module is not None and _edited(path, module, patched):
            raise SourceRefused(
                f"{path.name} was edited after this kernel imported it, so the live object runs on the old "
                f"text.",
                f"Run importlib.reload({module.__name__}) and the cells that use it, or restart the kernel.",
            )


def refuse_deleted(name: str, folder: Path) -> None:
    """Refuse a local module that the kernel imported and whose file is gone.

    Raises:
        SourceRefused: there is nothing to ship.
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(file, str) and Path(file).parent == folder and not Path(file).exists():
        raise SourceRefused(
            f"{Path(file).name} was deleted after this kernel imported it, so it can't ship.",
            "Put the file back, or write what it held into a cell.",
        )


def refuse_edited_script(path: Path, namespace: Mapping[str, object], own: Collection[str]) -> None:
    """Refuse a script that was edited after `%run` ran it.

    Args:
        path: the script.
        namespace: the notebook's variables.
        own: names that nothing but the script binds.

    Raises:
        SourceRefused: what the script says now isn't what it bound.
    """
    try:
        tree = ast.parse(path.read_bytes())
        code = compile(tree, str(path), "exec")
    except (SyntaxError, ValueError, OSError):
        return
    bound = SimpleNamespace(**{name: namespace[name] for name in own if name in namespace})
    if _other_code(code, vars(bound), "__main__", ()) or _other_values(tree, bound, ()):
        raise SourceRefused(
            f"{path.name} was edited after `%run` ran it, so the live object comes from the old text.",
            f"Run the cell with `%run {path.name}` again, and those that use what it binds.",
        )


def _edited(path: Path, module: ModuleType, patched: Collection[str]) -> bool:
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
    return _other_code(code, vars(module), module.__name__, patched) or _other_values(tree, module, patched)


def _other_code(code: CodeType, live: Mapping[str, object], module: str, patched: Collection[str]) -> bool:
    """Whether a function or a method has other code than the file."""
    parts: dict[str, list[CodeType]] = {}
    for part in code.co_consts:
        if isinstance(part, CodeType) and part.co_name not in patched:
            parts.setdefault(part.co_name, []).append(part)
    for name, written in parts.items():
        value = live.get(name)
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, FunctionType) and value.__module__ == module:
            if not any(_same(value.__code__, part) for part in written):
                return True
        elif (
            isinstance(value, type)
            and value.__module__ == module
            and len(written) == 1
            and _other_code(written[0], vars(value), module, patched)
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


def _other_values(tree: ast.Module, module: object, patched: Collection[str]) -> bool:
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
        and name not in patched
        and getattr(module, name, values[0]) != values[0]
        for name, values in bound.items()
    )
