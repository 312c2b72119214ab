"""Something to do once a library is imported, whoever imports it; nothing is imported for that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def when_imported(module: str, action: Callable[[], None]) -> None:
    """Run an action after a module was imported; at once if it already is."""
    if module in sys.modules:
        action()
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.actions.setdefault(module, []).append(action)


class _Finder(MetaPathFinder):
    """Finds nothing itself: it lets the others find, and looks over the shoulder of their loader."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Callable[[], None]]] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        actions = self.actions.pop(fullname, None)
        if actions is None:
            return None
        spec = find_spec(fullname)  # this finder no longer knows the name, so it asks the others
        if spec is not None and spec.loader is not None:
            spec.loader = _Followed(spec.loader, actions)  # type: ignore[assignment]
        return spec


class _Followed:
    """A module's loader that acts when the module is there."""

    def __init__(self, loader: Loader, actions: list[Callable[[], None]]) -> None:
        self._loader = loader
        self._actions = actions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # Whoever asks the module for its resources should meet the loader that has them.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        for action in self._actions:
            action()


_finder = _Finder()
