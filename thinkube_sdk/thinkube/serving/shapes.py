"""What an object takes: JSON schema, validation, and which part of it is text.

An input is either named fields (a function of several parameters, a graph's state) or one value (a
function of one parameter, a runnable on a string). A single value is accepted under its name too. Where
one part of the input is plainly the text a person would type, that text alone is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic import Field as PydanticField

from thinkube.serving.annotations import fits, is_text, schema_of, takes_messages, usable

TEXT_INPUTS = ("question", "query", "prompt", "input", "text", "message", "task", "topic")
HISTORIES = ("chat_history", "history")
ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input, and where."""

    path: str
    message: str


class InvalidInput(Exception):
    """An input does not fit what the object takes."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in problems))


@dataclass(frozen=True)
class Field:
    """One named part of an input. `default` is `...` where it has to be given; `ABSENT` shows none."""

    name: str
    annotation: Any = Any
    default: Any = ...


class Shape:
    """What one object takes.

    Args:
        fields: its named parts; with `single` the one value, under the name it may also be given by.
        single: it takes one value rather than an object of named parts.
        nonempty: at least one field has to be given (a graph's state may have no required field).
        extra: further fields are handed on rather than refused.
    """

    def __init__(
        self, fields: Sequence[Field], *, single: bool = False, nonempty: bool = False, extra: bool = False
    ) -> None:
        self.single = single
        self.names = tuple(field.name for field in fields)
        self.messages = next(
            (field.name for field in fields if takes_messages(field.name, field.annotation)), None
        )
        self.text = _text_field(fields) if single or self.messages is None else None
        self.history = next((name for name in HISTORIES if name in self.names), None)
        self._nonempty = nonempty
        self._model = _model(fields, extra)

    @property
    def known(self) -> str:
        """The names of the fields, for messages."""
        return ", ".join(self.names) or "no fields"

    def validate(self, payload: Any) -> Any:
        """Turn JSON into what the object is called with: a dict of the given fields, or the single value.

        Raises:
            InvalidInput: it does not fit; says where and why.
        """
        given = self._by_name(payload)
        if not isinstance(given, dict):
            raise InvalidInput([Problem("input", f"an object is expected, with {self.known}")])
        if self._nonempty and not given:
            raise InvalidInput([Problem("input", f"at least one field is needed; known are {self.known}")])
        try:
            checked = self._model.model_validate(given)
        except ValidationError as error:
            raise InvalidInput(
                [self._problem(dict(item)) for item in error.errors(include_url=False)]
            ) from error
        values = {
            name: getattr(checked, attribute)
            for attribute, name in zip(_attributes(self.names), self.names, strict=True)
            if self.single or attribute in checked.model_fields_set
        }
        return values[self.names[0]] if self.single else {**values, **(checked.model_extra or {})}

    def schema(self) -> dict[str, Any]:
        """The JSON schema of what `validate` accepts; references point into OpenAPI's components."""
        whole = schema_of(self._model)
        definitions = whole.pop("$defs", {})
        whole.pop("title", None)
        if self._nonempty:
            whole["minProperties"] = 1
        if self.single:
            whole = {"anyOf": [whole["properties"][self.names[0]], whole]}
        elif self.text is not None:
            whole = {"anyOf": [whole, {"type": "string", "description": f"the {self.text}"}]}
        return {**whole, "$defs": definitions} if definitions else whole

    def _by_name(self, payload: Any) -> Any:
        if payload is ABSENT:
            return {}
        if self.single:
            return (
                payload
                if isinstance(payload, dict) and set(payload) == set(self.names)
                else {self.names[0]: payload}
            )
        if isinstance(payload, str) and self.text is not None:
            return {self.text: payload}
        return payload

    def _problem(self, error: Mapping[str, Any]) -> Problem:
        location = [part for part in error["loc"] if not (self.single and part == self.names[0])]
        path = "input" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        if error["type"] == "extra_forbidden":
            return Problem(path, f"there is no such field; known are {self.known}")
        return Problem(path, str(error["msg"]))


def _attributes(names: Sequence[str]) -> list[str]:
    # Attribute names of our own: a field may be called `schema` or `_private`.
    return [f"field_{number}" for number, _ in enumerate(names)]


def _model(fields: Sequence[Field], extra: bool) -> type[BaseModel]:
    definitions: dict[str, Any] = {
        attribute: _definition(field)
        for attribute, field in zip(_attributes([f.name for f in fields]), fields, strict=True)
    }
    config = ConfigDict(extra="allow" if extra else "forbid", protected_namespaces=())
    return create_model("Input", __config__=config, **definitions)


def _definition(field: Field) -> tuple[Any, Any]:
    annotation = usable(field.name, field.annotation)
    if field.default is None and annotation is not Any:
        annotation = Optional[annotation]  # noqa: UP045 - an annotation may be a string
    shown = field.default is ... or (
        isinstance(field.default, str | int | float | None) and fits(annotation, field.default)
    )
    if shown:
        return annotation, PydanticField(default=field.default, alias=field.name)
    return annotation, PydanticField(default_factory=lambda: field.default, alias=field.name)


def _text_field(fields: Sequence[Field]) -> str | None:
    """The field a person's words go into.

    The sole field if it is text or says no type; else the sole required text field; else the first
    text field of a usual name (`question`, `query`, …); else the sole text field.
    """
    if len(fields) == 1:
        return fields[0].name if is_text(fields[0].annotation, untyped=True) else None
    texts = [field for field in fields if is_text(field.annotation)]
    required = [field.name for field in texts if field.default is ...]
    if len(required) == 1:
        return required[0]
    names = [field.name for field in texts] or [f.name for f in fields if is_text(f.annotation, untyped=True)]
    return next((name for name in TEXT_INPUTS if name in names), names[0] if len(texts) == 1 else None)
