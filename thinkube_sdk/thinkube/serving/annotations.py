"""Type annotations as users write them, made usable for schemas."""

from __future__ import annotations

import sys
import types
import typing
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation, PydanticUserError

REFERENCE = "#/components/schemas/{model}"
# What pydantic raises for an annotation it knows no JSON for; such a part is taken as it comes.
UNUSABLE = (
    PydanticUserError,
    PydanticUndefinedAnnotation,
    PydanticInvalidForJsonSchema,
    NameError,
    TypeError,
)

_MESSAGE_CLASSES = "langchain_core.messages"
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant", "tool"]},
        "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
    },
    "required": ["role", "content"],
}
MESSAGES_SCHEMA = {"type": "array", "minItems": 1, "items": _MESSAGE}


def usable(name: str, annotation: Any) -> Any:
    """An annotation that pydantic can validate JSON with: itself, its portable form, or `Any`."""
    if has_messages(annotation):
        return Annotated[
            Any, BeforeValidator(_messages(annotation)), WithJsonSchema(_messages_schema(annotation))
        ]
    if name == "messages" and takes_messages(name, annotation):
        return Annotated[annotation, WithJsonSchema(MESSAGES_SCHEMA)]
    annotation = portable(annotation)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TypeAdapter(annotation).json_schema()
    except UNUSABLE:
        return Any
    return annotation


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is of a type that `usable` returned."""
    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def portable(annotation: Any) -> Any:
    """Replace `typing.TypedDict` classes, which pydantic refuses before Python 3.12, wherever they stand."""
    if sys.version_info >= (3, 12):
        return annotation
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        hints = typing_extensions.get_type_hints(annotation, include_extras=True)
        optional = annotation.__optional_keys__
        fields = {
            key: typing_extensions.NotRequired[portable(_bare(hint))]
            if key in optional
            else portable(_bare(hint))
            for key, hint in hints.items()
        }
        return typing_extensions.TypedDict(annotation.__name__, fields)  # type: ignore[operator]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not arguments or origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(portable(arguments[0]), *annotation.__metadata__)]
    inner = [[portable(a) for a in part] if isinstance(part, list) else portable(part) for part in arguments]
    if origin in (Union, types.UnionType):
        return Union[tuple(inner)]  # noqa: UP007 - a runtime list of alternatives
    return types.GenericAlias(origin, tuple(inner)) if isinstance(origin, type) else annotation


def is_text(annotation: Any, *, untyped: bool = False) -> bool:
    """Whether a value of this type is a text. `untyped`: no type at all counts as well."""
    annotation = _bare(annotation)
    if untyped and annotation in (Any, object):
        return True
    if get_origin(annotation) in (Union, types.UnionType):
        return any(part is str for part in get_args(annotation))
    return annotation is str


def has_messages(annotation: Any) -> bool:
    """Whether LangChain messages stand anywhere in it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return any(
            base.__name__ == "BaseMessage" and base.__module__.startswith(_MESSAGE_CLASSES)
            for base in annotation.__mro__
        )
    return any(has_messages(part) for part in get_args(annotation) if not isinstance(part, str))


def takes_messages(name: str, annotation: Any) -> bool:
    """Whether a field takes a conversation: LangChain messages, or a list called `messages`."""
    if has_messages(annotation):
        return True
    bare = _bare(annotation)
    return name == "messages" and (bare is Any or (get_origin(bare) or bare) in (list, Sequence))


def schema_of(annotation: Any, mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """The JSON schema of a type, `{}` for one that has none. References point into OpenAPI's components."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                return annotation.model_json_schema(ref_template=REFERENCE, mode=mode)
            return TypeAdapter(portable(annotation)).json_schema(ref_template=REFERENCE, mode=mode)
    except UNUSABLE:
        return {}


def hints_of(subject: Any) -> Mapping[str, Any]:
    """The resolved annotations of a function or class; the raw ones where a name can't be resolved."""
    try:
        return typing_extensions.get_type_hints(subject, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        raw = getattr(subject, "__annotations__", {})
        return {name: Any if isinstance(hint, str) else hint for name, hint in raw.items()}


def _bare(annotation: Any) -> Any:
    """Without `Annotated`, `Required`, `NotRequired`, and without the None of an optional."""
    origin = get_origin(annotation)
    if origin in (
        Annotated,
        typing_extensions.Required,
        typing_extensions.NotRequired,
        typing.Required,
        typing.NotRequired,
    ):
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return _bare(parts[0]) if len(parts) == 1 else Union[tuple(parts)]  # noqa: UP007 - as above
    return annotation


def _messages(annotation: Any) -> Any:
    """A validator from OpenAI or LangChain message objects to LangChain messages."""
    text_too, none_too = _also_text(annotation), type(None) in get_args(annotation)

    def convert(value: Any) -> Any:
        if (value is None and none_too) or (isinstance(value, str) and text_too):
            return value
        from langchain_core.messages import convert_to_messages

        if value in ([], None):
            raise ValueError("at least one message is needed")
        try:
            return convert_to_messages(value if isinstance(value, list) else [value])
        except (ValueError, NotImplementedError, TypeError, KeyError) as error:
            raise ValueError(f"these are not messages: {str(error).splitlines()[0]}") from error

    return convert


def _also_text(annotation: Any) -> bool:
    return any(part is str for part in get_args(_bare(annotation)))


def _messages_schema(annotation: Any) -> dict[str, Any]:
    return {"anyOf": [MESSAGES_SCHEMA, {"type": "string"}]} if _also_text(annotation) else MESSAGES_SCHEMA
