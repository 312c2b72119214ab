"""LangGraph graphs, compiled or not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel

from thinkube.model.kinds import Kind
from thinkube.serving.agent import Call, Event, Mode
from thinkube.serving.annotations import has_messages, is_text, schema_of, takes_messages, usable
from thinkube.serving.chat import text_of_message
from thinkube.serving.runnables import config_of
from thinkube.serving.shapes import ABSENT, TEXT_INPUTS, Field, Shape
from thinkube.serving.threads import in_thread, iterate_in_thread

_MESSAGES: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
DEFAULT_MODES: tuple[Mode, ...] = ("updates", "messages", "custom")


class GraphAgent:
    """A LangGraph graph as an agent. Its input is an object of channels, its output the output channels."""

    def __init__(self, subject: Any, kind: Kind) -> None:
        self.kind = kind
        self._graph = subject.compile() if kind == "langgraph-builder" else subject
        checkpointer = getattr(self._graph, "checkpointer", None)
        self._remembers = bool(checkpointer)
        self._blocking = _only_blocking(checkpointer)
        self.takes = _input(self._graph)
        self.gives = _output_schema(self._graph)

    async def invoke(self, values: Any, call: Call, /) -> Any:
        if self._blocking:
            config = config_of(call, remembers=self._remembers)
            return await in_thread(lambda: self._graph.invoke(values, config))
        return await self._graph.ainvoke(values, config_of(call, remembers=self._remembers))

    async def stream(self, values: Any, call: Call, /) -> AsyncGenerator[Event]:
        asked = call.modes or DEFAULT_MODES
        latest: Any = None
        interrupts: Any = None
        config = config_of(call, remembers=self._remembers)
        told = sorted({*asked, "values", "updates"})
        events = (
            iterate_in_thread(lambda: self._graph.stream(values, config, stream_mode=told))
            if self._blocking
            else self._graph.astream(values, config, stream_mode=told)
        )
        async for mode, data in events:
            if mode == "values":
                latest = data
            elif mode == "updates" and isinstance(data, dict) and "__interrupt__" in data:
                interrupts = data["__interrupt__"]
            if mode in asked:
                yield Event(
                    mode, data, text_of_message(data[0]) if mode == "messages" and _is_answer(data) else ""
                )
        output = self._output(latest)
        if interrupts is not None:
            output = {**(output if isinstance(output, dict) else {}), "__interrupt__": interrupts}
        yield Event("output", output)

    def _output(self, latest: Any) -> Any:
        channels = self._graph.output_channels
        if isinstance(channels, str) or not isinstance(latest, Mapping):
            return latest
        return {name: latest[name] for name in channels if name in latest}


def _only_blocking(checkpointer: Any) -> bool:
    """Whether a checkpointer has no asynchronous form, so that the whole run belongs into a thread."""
    from langgraph.checkpoint.base import BaseCheckpointSaver

    if not isinstance(checkpointer, BaseCheckpointSaver):
        return False
    # SqliteSaver overrides the asynchronous methods only to refuse them.
    kind = type(checkpointer)
    return kind.aput is BaseCheckpointSaver.aput or kind.__name__ == "SqliteSaver"


def _is_answer(data: tuple[Any, Mapping[str, Any]]) -> bool:
    """Whether a streamed message is the model speaking: not a tool's result or the user's own words."""
    return getattr(data[0], "type", "") in ("ai", "AIMessageChunk")


def _input(graph: Any) -> Shape:
    builder = getattr(graph, "builder", None)
    model = getattr(builder, "input_schema", None)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return Shape(
            [
                Field(
                    field.alias or name,
                    _annotated(field),
                    ... if field.is_required() else field.get_default(call_default_factory=True),
                )
                for name, field in model.model_fields.items()
            ]
        )
    names = graph.input_channels
    if names == "__start__" and builder is not None:
        names = list(builder.schemas.get(model, ()))
    if isinstance(names, str):
        return Shape([Field("input", graph.channels[names].UpdateType)], single=True)
    channels = {
        name: graph.channels[name] for name in names if hasattr(graph.channels.get(name), "UpdateType")
    }
    required = _required(builder, tuple(channels), {name: channels[name].UpdateType for name in channels})
    return Shape(
        [
            Field(name, channel.UpdateType, ... if name in required else ABSENT)
            for name, channel in channels.items()
        ],
        nonempty=True,
    )


def _required(builder: Any, names: tuple[str, ...], kinds: Mapping[str, Any]) -> frozenset[str]:
    """The channels an input has to have.

    An input schema of its own says so. A state that is also the input marks nothing: of it, the
    conversation or else the field with a question's name is what a run can't do without.
    """
    if builder is not None and builder.input_schema is not builder.state_schema:
        return frozenset(getattr(builder.input_schema, "__required_keys__", ()))
    conversation = [name for name in names if takes_messages(name, kinds[name])]
    questions = [name for name in TEXT_INPUTS if name in names and is_text(kinds[name])]
    return frozenset((conversation or questions)[:1])


def _annotated(field: Any) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _output_schema(graph: Any) -> dict[str, Any]:
    names = graph.output_channels
    if isinstance(names, str):
        return schema_of(getattr(graph.channels[names], "ValueType", Any))
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for name in names:
        kind = getattr(graph.channels.get(name), "ValueType", Any)
        schema = dict(_MESSAGES) if has_messages(kind) else schema_of(usable(name, kind))
        definitions.update(schema.pop("$defs", {}))
        properties[name] = schema
    whole: dict[str, Any] = {"type": "object", "properties": properties}
    return {**whole, "$defs": definitions} if definitions else whole
