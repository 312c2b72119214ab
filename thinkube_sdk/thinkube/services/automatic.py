"""What LangChain, LangGraph, CrewAI and OpenAI's library are asked becomes traces, without a line of code.

Each library is followed with the integration made for it: Langfuse's own for LangChain and OpenAI,
OpenInference's for CrewAI. They are loaded with the first call there is to trace, never before.
`LANGFUSE_TRACING_ENABLED=false`, the Langfuse SDK's own switch, turns all of it off.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any

from thinkube.services.imported import when_imported

if TYPE_CHECKING:
    from langfuse import Langfuse

# What langfuse.openai follows, too.
_OPENAI = (
    ("openai.resources.chat.completions", ("Completions", "AsyncCompletions"), ("create", "parse")),
    ("openai.resources.completions", ("Completions", "AsyncCompletions"), ("create",)),
    ("openai.resources.embeddings", ("Embeddings", "AsyncEmbeddings"), ("create",)),
)
_RESPONSES = ("openai.resources.responses", ("Responses", "AsyncResponses"), ("create", "parse"))
_CREWAI = (("Crew", "kickoff"), ("Flow", "kickoff"), ("Flow", "kickoff_async"), ("Agent", "kickoff"))
# LangChain notes on each model call what kind of model it asks.
_LANGCHAIN_CALL = "langfuse.observation.metadata.ls_model_type"

_lock = RLock()
_done: set[str] = set()
_expecting: dict[tuple[type, str], tuple[Any, Any]] = {}


def trace_models() -> None:
    """Trace the model calls of this process from now on. Called again, it does nothing."""
    if os.environ.get("LANGFUSE_TRACING_ENABLED", "").lower() in ("false", "0") or not _once("follow"):
        return
    when_imported("langchain_core.tracers.context", _follow_langchain)
    when_imported("openai.resources", lambda: _expect_openai(*_OPENAI))
    when_imported("openai.resources.responses", lambda: _expect_openai(_RESPONSES))
    when_imported("crewai", _expect_crewai)


def _once(step: str) -> bool:
    """Whether a step is to be taken now; true once a process."""
    with _lock:
        if step in _done:
            return False
        _done.add(step)
        return True


def _tracer() -> Langfuse | None:
    """Where the traces go; None where no backend is known, or the Langfuse SDK is not installed."""
    from thinkube.services.tracing import current

    return current()


class _LangfuseHandler(type):
    """Tells Langfuse's handlers from others without loading Langfuse."""

    def __instancecheck__(cls, instance: object) -> bool:
        return any(each.__module__.startswith("langfuse.langchain") for each in type(instance).__mro__)


class _Handler(metaclass=_LangfuseHandler):
    """The kind of handler that LangChain must not have twice: a deployed agent brings its own."""


class _Handlers:
    """What LangChain takes for a context variable: it asks it for the handler of each run."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}

    def get(self) -> Any:
        tracer = _tracer()
        if tracer is None:
            return None
        from thinkube.services.tracing import handler, key_of

        key = key_of(tracer)
        if key not in self._handlers:
            self._handlers[key] = handler(tracer)
        return self._handlers[key]


def _follow_langchain() -> None:
    register = import_module("langchain_core.tracers.context").register_configure_hook
    register(_Handlers(), True, _Handler)


def _expect_openai(*resources: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    """Wait for the first call of OpenAI's library: loading what traces it takes a second."""
    for module, classes, methods in resources:
        for name in classes:
            owner = getattr(import_module(module), name)
            for method in methods:
                if method in vars(owner):
                    _expect(owner, method, _follow_openai)


def _expect_crewai() -> None:
    crewai = import_module("crewai")
    for name, method in _CREWAI:
        owner = getattr(crewai, name)
        if method in vars(owner):
            _expect(owner, method, _follow_crewai)


def _expect(owner: type, method: str, follow: Callable[[], None]) -> None:
    """Before a method's first call with a backend to trace to, have its library followed."""
    original = vars(owner)[method]

    @functools.wraps(original)
    def first(self: Any, *args: Any, **options: Any) -> Any:
        if _tracer() is None:
            return original(self, *args, **options)
        follow()
        # Whoever put something of his own around this keeps it, and it ends here.
        call = original.__get__(self) if (owner, method) in _expecting else getattr(self, method)
        return call(*args, **options)

    _expecting[owner, method] = first, original
    setattr(owner, method, first)


def _restore(owner: type, methods: Iterable[str]) -> None:
    """Put the libraries' own methods back, for those who follow them to find."""
    for method in methods:
        first, original = _expecting.get((owner, method), (None, None))
        if first is not None and vars(owner).get(method) is first:
            setattr(owner, method, original)
            del _expecting[owner, method]


def _follow_openai() -> None:
    with _lock:
        if not _once("openai"):
            return
        owners = [
            (module, name, methods) for module, names, methods in (*_OPENAI, _RESPONSES) for name in names
        ]
        for module, name, methods in owners:
            _restore(getattr(import_module(module), name), methods)
        import_module("langfuse.openai")  # puts itself around each of them
        from wrapt import wrap_function_wrapper

        for module, name, methods in owners:
            for method in methods:
                if method in vars(getattr(import_module(module), name)):
                    wrap_function_wrapper(module, f"{name}.{method}", _openai_call)


def _openai_call(wrapped: Any, _: Any, args: Any, options: Any) -> Any:
    """Trace a call, unless it is one that LangChain makes and that its handler traces."""
    from opentelemetry import trace

    tracer = _tracer()
    around = getattr(trace.get_current_span(), "attributes", None) or {}
    if tracer is None or _LANGCHAIN_CALL in around:
        return wrapped.__wrapped__(*args, **options)
    from thinkube.services.tracing import key_of

    return wrapped(*args, **{"langfuse_public_key": key_of(tracer), **options})


def _follow_crewai() -> None:
    with _lock:
        if not _once("crewai"):
            return
        crewai = import_module("crewai")
        for name, method in _CREWAI:
            _restore(getattr(crewai, name), [method])
        tracer = _tracer()
        resources = tracer._resources if tracer else None
        with contextlib.suppress(ModuleNotFoundError):  # what a crew asks models is traced all the same
            instrumentation = import_module("openinference.instrumentation.crewai")
            instrumentation.CrewAIInstrumentor().instrument(
                tracer_provider=resources.tracer_provider if resources else None
            )
