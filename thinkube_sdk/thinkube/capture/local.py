"""Modules that lie beside the notebook, and the files they bring along."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

_SKIP = frozenset({"__pycache__", ".ipynb_checkpoints", ".git"})


class LocalModules:
    """Finds modules in the notebook's folder, or among the files the notebook wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.roots: list[Path] = [folder]
        self.texts: dict[str, str] = {}
        self._known: dict[str, Path | None] = {}

    def written(self, path: str, text: str) -> None:
        """Take note of a file made by `%%writefile`."""
        clean = path.removeprefix("./")
        self.texts[clean] = text

    def search(self, path: str) -> None:
        """Look for modules in a folder that the notebook put on `sys.path`, if it is not an installation."""
        root = (self.folder / Path(path).expanduser()).resolve()
        if root.is_dir() and root not in self.roots and "site-packages" not in root.parts:
            self.roots.append(root)

    def find(self, module: str) -> Path | None:
        """The file or folder of a top-level module beside the notebook, or its bare name where a "
        "cell wrote it."""
        root = module.lstrip(".").partition(".")[0]
        if not root or root in sys.stdlib_module_names:
            return None
        if root not in self._known or self._known[root] is None:
            self._known[root] = self._look(root)
        return self._known[root]

    def _look(self, root: str) -> Path | None:
        if f"{root}.py" in self.texts:
            return Path(f"{root}.py")
        if any(path.startswith(f"{root}/") and path.endswith(".py") for path in self.texts):
            return Path(root)
        for place in self.roots:
            if (place / f"{root}.py").is_file():
                return place / f"{root}.py"
            folder = place / root
            if folder.is_dir() and ((folder / "__init__.py").is_file() or any(folder.glob("*.py"))):
                return folder
        return None

    def source(self, module: str) -> str | None:
        """The text of a local module, by dotted name."""
        if self.find(module) is None:
            return None
        base = module.lstrip(".").replace(".", "/")
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if path in self.texts:
                return self.texts[path]
            for root in self.roots:
                if (root / path).is_file():
                    return (root / path).read_text(encoding="utf-8", errors="replace")
        return None

    def files(self, module: str) -> dict[str, bytes]:
        """Every file of the top-level module that `module` belongs to, by its path in the bundle."""
        found = self.find(module)
        if found is None:
            return {}
        name = found.name
        written = {
            path: text.encode()
            for path, text in self.texts.items()
            if path == name or path.startswith(f"{name}/")
        }
        if found.suffix == ".py":
            return written or {name: found.read_bytes()}
        base = self.folder / found
        there = {
            f"{name}/{path.relative_to(base).as_posix()}": path.read_bytes()
            for path in sorted(base.rglob("*"))
            if path.is_file() and not _SKIP & set(path.parts) and path.suffix != ".pyc"
        }
        return {**there, **written}

    def public_names(self, module: str) -> tuple[str, ...]:
        """What `from module import *` binds, told from the module's text without importing it."""
        text = self.source(module)
        if text is None:
            text = _installed_source(module)
        if text is None:
            return _loaded_names(module)
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return ()
        return self._names(tree)

    def _names(self, tree: ast.Module) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names[node.name] = None
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    if alias.name == "*" and isinstance(node, ast.ImportFrom) and node.module:
                        names.update(dict.fromkeys(self.public_names(node.module)))
                    names[alias.asname or alias.name.partition(".")[0]] = None
            else:
                for part in ast.walk(node):
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                        names[part.id] = None
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                try:
                    return tuple(ast.literal_eval(node.value))
                except (ValueError, TypeError):
                    continue
        return tuple(name for name in names if not name.startswith("_") and name != "*")


def _loaded_names(module: str) -> tuple[str, ...]:
    """Public names of a module without source: a built-in one, or one that is loaded already."""
    root = module.partition(".")[0]
    loaded = sys.modules.get(module)
    if loaded is None and root in sys.stdlib_module_names:
        loaded = importlib.import_module(module)
    if loaded is None:
        return ()
    names = getattr(loaded, "__all__", None)
    return (
        tuple(names)
        if names is not None
        else tuple(name for name in vars(loaded) if not name.startswith("_"))
    )


def _installed_source(module: str) -> str | None:
    """The text of an installed module, found without importing anything but its parents' locations."""
    if module in sys.builtin_module_names or not module or module.startswith("."):
        return None
    for entry in sys.path:
        base = Path(entry or ".") / module.replace(".", "/")
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path.read_text(encoding="utf-8", errors="replace")
    return None
