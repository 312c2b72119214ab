"""JSON in and out, and errors as JSON with an id that the log has too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response

from thinkube.serving.shapes import InvalidInput

JSON = "application/json"


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        kind: the error's type, a word for programs.
        message: what is wrong, for people.
        param: which part of the request, as a path.
        problems: every part that is wrong, as pairs of path and message.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        problems: tuple[tuple[str, str], ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param
        self.problems = problems
        self.headers = dict(headers or {})
        super().__init__(message)

    def body(self, trace: str) -> dict[str, Any]:
        """The response, of the same form for every path and understood by OpenAI's clients."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.kind,
            "id": trace,
        }
        if self.problems:
            error["problems"] = [{"path": path, "message": message} for path, message in self.problems]
        return {"error": error}


class Unserialisable(Exception):
    """A result that has no JSON form."""


def invalid(error: InvalidInput) -> Refused:
    """A 422 that names each wrong part."""
    return Refused(
        422,
        "invalid_input",
        str(error),
        param=error.problems[0].path if error.problems else None,
        problems=tuple((problem.path, problem.message) for problem in error.problems),
    )


def decode(body: bytes) -> Any:
    """Read a request's JSON.

    Raises:
        Refused: it is not JSON; says at which line and column.
    """
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "malformed_json", f"The body is not JSON: {error}.") from error


def encode(value: Any) -> bytes:
    """Write JSON: what json takes, and pydantic models, dataclasses, messages, dates, sets, NumPy values.

    Raises:
        Unserialisable: some part has no JSON form; says which.
    """
    try:
        return to_json(value, fallback=_fallback, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise Unserialisable(_where(value, "output", 0) or str(error)) from error


def reply(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    return Response(encode(value), status, dict(headers or {}), JSON)


def sse(event: str | None, value: Any, number: int | None = None) -> bytes:
    """One server-sent event."""
    lines = b"" if event is None else b"event: " + event.encode() + b"\n"
    lines += b"" if number is None else b"id: %d\n" % number
    return lines + b"data: " + encode(value) + b"\n\n"


def _fallback(value: Any) -> Any:
    if callable(getattr(value, "tolist", None)):  # NumPy arrays and scalars, tensors
        return value.tolist()
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump()
    if callable(getattr(value, "to_dict", None)):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _where(value: Any, path: str, depth: int) -> str | None:
    """The first part of a value that can't be written, as a path and its type."""
    try:
        to_json(value, fallback=_fallback, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError):
        if depth < 20 and isinstance(value, Mapping):
            parts = [(f"{path}.{key}", part) for key, part in value.items()]
        elif depth < 20 and isinstance(value, list | tuple):
            parts = [(f"{path}[{number}]", part) for number, part in enumerate(value)]
        else:
            parts = []
        found = (_where(part, name, depth + 1) for name, part in parts)
        return next(filter(None, found), f"{path} is a {type(value).__name__}, which has no JSON form")
    return None
