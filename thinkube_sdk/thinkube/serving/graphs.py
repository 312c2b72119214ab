"""LangGraph graphs, compiled or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel

from thinkube.model.kinds import Kind
from thinkube.serving.agent import Call, Event, Mode
from thinkube.serving.annotations import has_messages, is_text, schema_of, takes_messages, usable
from thinkube.serving.chat import text_of_message
from thinkube.serving.runnables import config_of
from thinkube.serving.shapes import ABSENT, TEXT_INPUTS, Field, Shape
from thinkube.serving.thread_saver import INTERRUPT
from thinkube.serving.thread_state import begin, bound, memory_of, only_blocking
from thinkube.serving.threads import in_thread, iterate_in_thread

if TYPE_CHECKING:
    from thinkube.serving.thread_store import Threads

_MESSAGES: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
DEFAULT_MODES: tuple[Mode, ...] = ("updates", "messages", "custom")


class GraphAgent:
    """A LangGraph graph as an agent. Its input is an object of channels, its output the output channels.

    Attributes:
        memory: what its author said about threads: `off`; nothing (`asked`: a call that names a thread has
            one); a checkpointer in memory, which the deployment's replaces (`replaced`); or its `own`.
    """

    def __init__(self, subject: Any, kind: Kind) -> None:
        self.kind = kind
        self._graph = subject.compile() if kind == "langgraph-builder" else subject
        self.memory = memory_of(self._graph)
        self._blocking = only_blocking(self._graph)
        self._threads: Threads | None = None
        self._bound: Any = None
        self.takes = _input(self._graph)
        self.gives = _output_schema(self._graph)

    def keep(self, threads: Threads) -> None:
        """Keep its threads there, from now on."""
        self._threads = threads

    async def graph(self) -> Any:
        """The graph with the checkpointer that keeps its threads."""
        if self._bound is None:
            if self.memory == "own" or self._threads is None:
                self._bound = self._graph
            else:
                self._bound = bound(self._graph, await self._threads.saver())
        return self._bound

    async def invoke(self, values: Any, call: Call, /) -> Any:
        if call.turn is None and self.memory in ("asked", "off"):
            return await self._graph.ainvoke(values, config_of(call))
        async with self._run(values, call) as run:
            if self._blocking:
                output = await in_thread(lambda: run.graph.invoke(run.given, run.config), settle=True)
            else:
                output = await run.graph.ainvoke(run.given, run.config, durability=run.durability)
            run.waits = isinstance(output, Mapping) and INTERRUPT in output
            return output

    async def stream(self, values: Any, call: Call, /) -> AsyncGenerator[Event]:
        async with self._run(values, call) as run:
            async for event in self._events(run, call):
                yield event

    async def _events(self, run: _Run, call: Call) -> AsyncGenerator[Event]:
        asked = call.modes or DEFAULT_MODES
        latest: Any = None
        interrupts: Any = None
        told = sorted({*asked, "values", "updates"})
        if self._blocking:
            events = iterate_in_thread(
                lambda: run.graph.stream(run.given, run.config, stream_mode=told), settle=True
            )
        else:
            events = run.graph.astream(run.given, run.config, stream_mode=told, durability=run.durability)
        async for mode, data in events:
            if mode == "values":
                latest = data
            elif mode == "updates" and isinstance(data, dict) and INTERRUPT in data:
                interrupts = data[INTERRUPT]
            if mode in asked:
                yield Event(
                    mode, data, text_of_message(data[0]) if mode == "messages" and _is_answer(data) else ""
                )
        run.waits = interrupts is not None
        yield Event("output", self.output(latest, interrupts))

    def output(self, latest: Any, interrupts: Any = None) -> Any:
        """What a caller gets of a state: the output channels, and what the run was interrupted for."""
        channels = self._graph.output_channels
        output = latest
        if not isinstance(channels, str) and isinstance(latest, Mapping):
            output = {name: latest[name] for name in channels if name in latest}
        if interrupts is not None:
            output = {**(output if isinstance(output, dict) else {}), INTERRUPT: interrupts}
        return output

    @asynccontextmanager
    async def _run(self, values: Any, call: Call) -> AsyncIterator[_Run]:
        turn = call.turn
        if turn is None and self.memory in ("asked", "off"):
            yield _Run(self._graph, values, config_of(call), None)
            return
        graph = await self.graph()
        config = config_of(call, turn.thread if turn else call.trace)
        if turn is not None:
            durability = "sync" if turn.run else "async"
            given = await begin(graph, turn, values)
            yield _Run(graph, given, config, durability)
            return
        run = _Run(graph, values, config, "exit" if self.memory == "replaced" else None)
        try:
            yield run
        finally:
            # A thread that nobody named is kept only for an answer.
            if self.memory == "replaced" and self._threads is not None and not run.waits:
                await asyncio.shield((await self._threads.saver()).adelete_thread(call.trace))


@dataclass
class _Run:
    """What to run the graph with; `waits` is told when it was interrupted."""

    graph: Any
    given: Any
    config: Any
    durability: str | None
    waits: bool = False


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
