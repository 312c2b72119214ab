"""Walking syntax trees, and not collecting garbage meanwhile."""

from __future__ import annotations

import ast
import gc
import sys
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
def roomy() -> Iterator[None]:
    """Deep recursion for deep expressions, and no garbage collection: everything that is made is in use."""
    enabled, limit = gc.isenabled(), sys.getrecursionlimit()
    gc.disable()
    sys.setrecursionlimit(max(limit, 50_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if enabled:
            gc.enable()
