"""`tk.trace`: Langfuse's own context and decorator, with everything they need set up."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from thinkube.model.errors import ThinkubeError, UsageError
from thinkube.services import tracing
from thinkube.services.automatic import trace_models
from thinkube.services.installed import load

if TYPE_CHECKING:
    from langfuse import Langfuse

P = ParamSpec("P")
R = TypeVar("R")

# What belongs to the whole trace, and goes to `langfuse.propagate_attributes`.
_OF_THE_TRACE = ("user_id", "session_id", "tags", "trace_name")
# What `langfuse.observe` takes beside a name and a type.
_OF_A_FUNCTION = ("capture_input", "capture_output", "transform_to_string")


class Trace:
    """What `trace` gives without a function: enter it, or decorate with it."""

    def __init__(self, name: str | None, as_type: str, options: dict[str, Any]) -> None:
        self._name = name
        self._as_type = as_type
        self._whole = {key: options.pop(key) for key in _OF_THE_TRACE if key in options}
        self._options = options
        self._open: list[ExitStack] = []

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, each call of it an observation."""
        if unknown := set(self._options) - set(_OF_A_FUNCTION):
            raise UsageError(
                f"tk.trace can't take {', '.join(sorted(unknown))} for a function.",
                f"Of a function it takes name, as_type, {', '.join((*_OF_A_FUNCTION, *_OF_THE_TRACE))}.",
            )
        observe = load("trace", "langfuse").observe
        observed = observe(function, name=self._name, as_type=self._as_type, **self._options)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*args: Any, **given: Any) -> Any:
                tracer = _tracer()
                if tracer is None:
                    return await function(*args, **given)
                with self._attributes():
                    return await observed(*args, langfuse_public_key=tracing.key_of(tracer), **given)

            return asynchronous  # type: ignore[return-value]

        @functools.wraps(function)
        def synchronous(*args: Any, **given: Any) -> Any:
            tracer = _tracer()
            if tracer is None:
                return function(*args, **given)
            with self._attributes():
                return observed(*args, langfuse_public_key=tracing.key_of(tracer), **given)

        return synchronous

    def __enter__(self) -> Any:
        """The observation: update it with `output=…`, or whatever Langfuse's takes."""
        tracer: Any = _tracer()
        if tracer is None:
            self._open.append(ExitStack())
            return Unrecorded()
        with self._attributes() as stack:
            span = stack.enter_context(
                tracer.start_as_current_observation(
                    name=self._name or "trace", as_type=self._as_type, **self._options
                )
            )
            self._open.append(stack.pop_all())
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._open.pop().__exit__(kind, error, at)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)

    def _attributes(self) -> ExitStack:
        stack = ExitStack()
        if self._whole:
            stack.enter_context(load("trace", "langfuse").propagate_attributes(**self._whole))
        return stack


class Unrecorded:
    """An observation that nobody keeps; it takes whatever Langfuse's takes."""

    id = trace_id = ""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self

    def __enter__(self) -> Unrecorded:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@overload
def trace(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def trace(name: str | None = None, /, *, as_type: str = "span", **options: Any) -> Trace: ...


def trace(subject: Any = None, /, *, as_type: str = "span", **options: Any) -> Any:
    """A piece of work as part of a trace: a context, or a decorator.

    What LangChain, LangGraph, CrewAI and OpenAI's library do inside becomes part of it, and it of the
    trace it is in. Without a trace backend the work goes on, and that is said once.

    Args:
        subject: a function to decorate, or the name of the observation.
        as_type: Langfuse's kind of observation: `span`, `agent`, `tool`, `chain`, `retriever`, …
        options: passed on to Langfuse's `start_as_current_observation` (`input`, `metadata`, `model`, …) or
            `observe` (`capture_input`, …); `user_id`, `session_id`, `tags` and `trace_name` go to the whole
            trace.

    Raises:
        ClientMissing: `langfuse` is not installed.

    Example:
        with tk.trace("answer", input=question, session_id="42") as span:
            span.update(output=llm.invoke(question).content)

        @tk.trace
        def answer(question): ...
    """
    if callable(subject):
        return Trace(None, as_type, {})(subject)
    if "name" in options:
        subject = options.pop("name")
    return Trace(subject, as_type, options)


def _tracer() -> Langfuse | None:
    """Where to trace to; None where no backend is known."""
    trace_models()
    load("trace", "langfuse")
    found = tracing.current()
    if found is None:
        _warn()
    return found


@functools.cache
def _warn() -> None:
    try:
        tracing.client()
    except ThinkubeError as error:
        warnings.warn(f"tk.trace records nothing. {error}", stacklevel=4)
