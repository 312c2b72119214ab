"""What sorts of object can be deployed, told without importing any framework."""

from __future__ import annotations

import inspect
from typing import Literal

Kind = Literal[
    "langgraph",
    "langgraph-builder",
    "runnable",
    "async generator",
    "generator",
    "coroutine",
    "function",
    "callable",
]

# A class of the object's MRO, by module prefix and name, in order of precedence.
_BASES: tuple[tuple[str, str, Kind], ...] = (
    ("langgraph.pregel", "Pregel", "langgraph"),
    ("langgraph.graph.state", "StateGraph", "langgraph-builder"),
    ("langchain_core.runnables", "Runnable", "runnable"),
)


def kind_of(subject: object) -> Kind | None:
    """Tell what sort of deployable object `subject` is.

    Returns:
        The kind, or None for something that can't be deployed (a class, a number, a DataFrame, …).

    Example:
        >>> kind_of(lambda question: question.upper())
        'function'
        >>> kind_of(42) is None
        True
    """
    if isinstance(subject, type):
        return None
    for base in type(subject).__mro__:
        for module, name, kind in _BASES:
            if base.__name__ == name and base.__module__.startswith(module):
                return kind
    if not callable(subject):
        return None
    body = subject if inspect.isroutine(subject) else type(subject).__call__
    if inspect.isasyncgenfunction(body):
        return "async generator"
    if inspect.isgeneratorfunction(body):
        return "generator"
    if inspect.iscoroutinefunction(body):
        return "coroutine"
    return "function" if inspect.isroutine(subject) else "callable"
