"""A training function's parameters: what its signature says of them, checked before anything runs."""

from __future__ import annotations

import inspect
import json
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from thinkube.model.errors import UsageError

_NONE: Any = inspect.Parameter.empty
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: as the function calls it.
        annotation: its type; `Any` where nothing says it.
        default: its value when it is not given; `inspect.Parameter.empty` where it has to be.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is _NONE

    @property
    def kind(self) -> str:
        """Its type as a person writes it."""
        return _written(self.annotation)


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The parameters that a job can hand over by name.

    Raises:
        UsageError: it has some that can't be named (positional-only, *args).
    """
    name = getattr(function, "__name__", "the function")
    found = []
    hints = _hints(function)
    for each in inspect.signature(function).parameters.values():
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if each.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            raise UsageError(
                f"{name} takes {each} by position, and a job hands its parameters over by name.",
                f"Give {each.name} a name of its own in the signature.",
            )
        annotation = hints.get(each.name, _NONE)
        if annotation is _NONE:
            # `lr=0.1` says as much as `lr: float = 0.1`.
            plain = isinstance(each.default, bool | int | float | str)
            annotation = type(each.default) if plain else Any
        found.append(Parameter(each.name, annotation, each.default))
    return tuple(found)


def check(function: Callable[..., Any], given: Mapping[str, Any], *, texts: bool = False) -> dict[str, Any]:
    """The values a function is to be called with, as JSON keeps them.

    Args:
        function: what will be called.
        given: values by name.
        texts: they were typed on a command line; each is read as what its parameter's type says.

    Raises:
        UsageError: a name is unknown or missing, or a value is of the wrong type; every one is named.

    Example:
        >>> def train(steps: int, rate: float = 0.1): ...
        >>> check(train, {"steps": "20"}, texts=True)
        {'steps': 20}
    """
    name = getattr(function, "__name__", "the function")
    known = {each.name: each for each in parameters_of(function)}
    further = any(each.kind in _VARIADIC for each in inspect.signature(function).parameters.values())
    problems = [] if further else _unknown(given, known)
    missing = [each for each in known.values() if each.required and each.name not in given]
    problems += [f"{each.name} ({each.kind}) is missing" for each in missing]
    values: dict[str, Any] = {}
    for key, value in given.items():
        try:
            values[key] = _portable(key, value, known[key].annotation if key in known else Any, texts)
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise UsageError(
            f"{name} can't be called like this: {'; '.join(problems)}.", f"It takes {_signature(known)}."
        )
    return values


def restore(function: Callable[..., Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """From JSON back to what the signature says: a `Path`, a `date`, a dataclass."""
    known = {each.name: each for each in parameters_of(function)}
    restored = {}
    for key, value in kept.items():
        adapter = _adapter(known[key].annotation if key in known else Any)
        restored[key] = adapter.validate_json(json.dumps(value)) if adapter else value
    return restored


def _portable(key: str, value: Any, annotation: Any, texts: bool) -> Any:
    adapter = _adapter(annotation)
    if texts:
        value = _read(value, annotation, adapter)
    elif adapter is not None:
        value = _fitting(value, adapter, annotation)
    try:
        plain = adapter.dump_python(value, mode="json") if adapter else to_jsonable_python(value)
        # Proof that the other process reads it: `Any` lets everything pass.
        return json.loads(json.dumps(plain, allow_nan=True))
    except (PydanticSerializationError, TypeError, ValueError) as error:
        raise ValueError(
            f"a {type(value).__name__} can't be handed to another process; "
            f"give the path of a file, or load {key} in the function"
        ) from error


def _fitting(value: Any, adapter: TypeAdapter[Any], annotation: Any) -> Any:
    """A live value: no text passes for a number, while a list does for a tuple."""
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as error:
        if isinstance(value, str | bool) and annotation is not str and not _textual(annotation):
            raise ValueError(_told(error, value)) from error
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(_told(error, value)) from error


def _read(text: str, annotation: Any, adapter: TypeAdapter[Any] | None) -> Any:
    if adapter is None or annotation is Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return text
    try:
        return adapter.validate_python(text)
    except ValidationError as first:
        try:
            return adapter.validate_json(text)
        except ValidationError as second:
            # What JSON says of a word that is no JSON helps nobody.
            plain = any(each["type"] == "json_invalid" for each in second.errors())
            raise ValueError(_told(first if plain else second, text)) from first


def _textual(annotation: Any) -> bool:
    """Whether a type is written as text where it has no literal: a path, a date, an enumeration."""
    parts = (
        get_args(annotation) if get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    )
    return any(isinstance(part, type) and not issubclass(part, int | float | bool) for part in parts)


def _told(error: ValidationError, value: Any) -> str:
    found = error.errors(include_url=False)[0]
    place = "".join(
        f"[{part!r}]" for part in found["loc"] if not isinstance(part, str) or part.isidentifier()
    )
    at = f"{place} " if found["loc"] and "union" not in found["type"] else ""
    return f"{at}{found['msg'][0].lower()}{found['msg'][1:]}, not {value!r:.80}"


def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    """What validates a type; None for one that only Python itself knows (a model, a tensor)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TypeAdapter(annotation)
    except (PydanticUserError, NameError, TypeError):
        return None


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    body = function if inspect.isroutine(function) else type(function).__call__
    try:
        return typing.get_type_hints(body, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        raw = getattr(body, "__annotations__", {})
        return {name: Any if isinstance(hint, str) else hint for name, hint in raw.items()}


def _unknown(given: Mapping[str, Any], known: Mapping[str, Parameter]) -> list[str]:
    problems = []
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            problems.append(f"there is no {key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    return problems


def _signature(known: Mapping[str, Parameter]) -> str:
    parts: Sequence[str] = [
        f"{each.name}: {each.kind}" + ("" if each.required else f" = {each.default!r:.40}")
        for each in known.values()
    ]
    return ", ".join(parts) or "no parameters"


def _written(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not get_args(annotation)
        else str(annotation).replace("typing.", "")
    )
