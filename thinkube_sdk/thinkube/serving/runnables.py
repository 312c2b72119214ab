"""LangChain runnables: chains, prompts, models, agents' executors."""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator
from typing import Any

from pydantic import BaseModel

from thinkube.model.kinds import Kind
from thinkube.serving.agent import Call, Event
from thinkube.serving.annotations import UNUSABLE, schema_of
from thinkube.serving.chat import text_of_message
from thinkube.serving.shapes import Field, Shape


class RunnableAgent:
    """A LangChain runnable as an agent. Runnables without an async form run in a thread by themselves."""

    kind: Kind = "runnable"

    def __init__(self, subject: Any) -> None:
        self._runnable = subject
        self.takes, self._instance = _input(subject)
        self.gives = _output_schema(subject)

    async def invoke(self, values: Any, call: Call, /) -> Any:
        return await self._runnable.ainvoke(self._prepared(values), config_of(call))

    async def stream(self, values: Any, call: Call, /) -> AsyncGenerator[Event]:
        whole: Any = None
        chunks = self._runnable.astream(self._prepared(values), config_of(call))
        async for chunk in chunks:
            yield Event("delta", chunk, text_of_message(chunk))
            whole = chunk if whole is None else _joined(whole, chunk)
        yield Event("output", whole)

    def _prepared(self, values: Any) -> Any:
        return self._instance(**values) if self._instance is not None else values


def _joined(whole: Any, chunk: Any) -> Any:
    try:
        return whole + chunk
    except TypeError:  # chunks that don't add up replace each other, as in `Runnable.transform`
        return chunk


def config_of(call: Call, thread: str | None = None) -> Any:
    """What LangChain is told about a run; nothing where there is nothing to tell, since each key costs.

    Args:
        thread: the thread whose state it keeps; without one, the session's name is told as that.
    """
    config: dict[str, Any] = {}
    if call.callbacks:
        config["callbacks"] = list(call.callbacks)
    if thread or call.session:
        config["configurable"] = {"thread_id": thread or call.session}
    if call.turn is not None:
        if call.turn.checkpoint:
            config["configurable"]["checkpoint_id"] = call.turn.checkpoint
        if call.turn.run:
            config["metadata"] = {"run": call.turn.run}
    return config or None


def _input(subject: Any) -> tuple[Shape, type[BaseModel] | None]:
    """The input's shape, and the user's own model class if the runnable takes one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: type[BaseModel] = subject.get_input_schema()
            taken = subject.InputType
    except UNUSABLE:
        return Shape([Field("input")], single=True), None
    if "root" in model.model_fields:
        root = model.model_fields["root"]
        return Shape(
            [Field("input", root.annotation, ... if root.is_required() else root.default)], single=True
        ), None
    fields = [
        Field(field.alias or name, field.annotation, ... if field.is_required() else field.get_default())
        for name, field in model.model_fields.items()
    ]
    own = model if taken is model else None
    return Shape(fields, extra=own is None), own


def _output_schema(subject: Any) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return schema_of(subject.get_output_schema())
    except UNUSABLE:
        return {}
