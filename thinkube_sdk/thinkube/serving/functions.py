"""Plain functions: sync, async, generators of both sorts, and callable objects."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast, get_args, get_origin

from thinkube.model.kinds import Kind
from thinkube.serving.agent import Call, Collected, Event, last
from thinkube.serving.annotations import hints_of, schema_of
from thinkube.serving.shapes import Field, Shape
from thinkube.serving.threads import in_thread, iterate_in_thread

_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_NAMED = (_POSITIONAL, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class FunctionAgent:
    """A function as an agent.

    A function of one parameter is called with the input; one of several with the input's fields by name.
    What a generator yields are the pieces of its answer.
    """

    def __init__(self, subject: Any, kind: Kind) -> None:
        self.kind = kind
        self._function: Callable[..., Any] = subject
        body = subject if inspect.isroutine(subject) else type(subject).__call__
        self._async_generator = inspect.isasyncgenfunction(body)
        self._generator = inspect.isgeneratorfunction(body)
        self._coroutine = inspect.iscoroutinefunction(body)
        parameters, extra = _parameters(subject)
        hints = hints_of(body)
        self._positional = tuple(p.name for p in parameters if p.kind is _POSITIONAL)
        self.takes = Shape(
            [Field(p.name, hints.get(p.name, Any), _default(p)) for p in parameters],
            single=len(parameters) == 1 and not extra,
            extra=extra,
        )
        self._sole = parameters[0] if self.takes.single else None
        self.gives = _output_schema(hints.get("return", Any), self._generator or self._async_generator)

    async def invoke(self, values: Any, call: Call, /) -> Any:
        if self._generator or self._async_generator:
            return await last(self.stream(values, call))
        result = await self._result(values)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            return await last(_pieces(result))
        return result

    async def stream(self, values: Any, _call: Call, /) -> AsyncGenerator[Event]:
        if self._async_generator or self._generator:
            produced: Any = self._call(values)
        else:
            produced = await self._result(values)
        if inspect.isgenerator(produced) or inspect.isasyncgen(produced):
            async for event in _pieces(produced):
                yield event
        else:
            yield Event("output", produced)

    async def _result(self, values: Any) -> Any:
        result = await self._call(values) if self._coroutine else await in_thread(lambda: self._call(values))
        return await result if inspect.isawaitable(result) else result

    def _call(self, values: Any) -> Any:
        if self._sole is not None:
            if self._sole.kind is inspect.Parameter.KEYWORD_ONLY:
                return self._function(**{self._sole.name: values})
            return self._function(values)
        positional = [values[name] for name in self._positional if name in values]
        return self._function(*positional, **{k: v for k, v in values.items() if k not in self._positional})


async def _pieces(produced: Any) -> AsyncGenerator[Event]:
    """The pieces of a generator, then all of them as the output."""
    collected = Collected()
    pieces: AsyncGenerator[Any]
    if inspect.isasyncgen(produced):
        pieces = cast("AsyncGenerator[Any]", produced)
    else:
        pieces = iterate_in_thread(lambda: produced)
    try:
        async for piece in pieces:
            collected.pieces.append(piece)
            yield Event("delta", piece, piece if isinstance(piece, str) else "")
    finally:
        await pieces.aclose()
    yield Event("output", collected.whole())


def _parameters(subject: Any) -> tuple[list[inspect.Parameter], bool]:
    try:
        parameters = inspect.signature(subject).parameters.values()
    except (ValueError, TypeError):  # a builtin that doesn't tell: one value
        return [inspect.Parameter("input", _POSITIONAL)], False
    named = [parameter for parameter in parameters if parameter.kind in _NAMED]
    return named, any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _default(parameter: inspect.Parameter) -> Any:
    return ... if parameter.default is inspect.Parameter.empty else parameter.default


def _output_schema(annotation: Any, generator: bool) -> dict[str, Any]:
    if not generator:
        return schema_of(annotation)
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) is None:
        return {}
    return schema_of(str) if arguments[0] is str else schema_of(list[arguments[0]])  # type: ignore[valid-type]
