"""One protocol over every kind of object that can be deployed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from thinkube.model.kinds import Kind, kind_of
from thinkube.serving.shapes import ABSENT, Shape

if TYPE_CHECKING:
    from thinkube.serving.thread_turns import IfBusy

Mode = Literal["values", "updates", "messages", "custom"]
MODES: tuple[Mode, ...] = ("values", "updates", "messages", "custom")


@dataclass(frozen=True)
class Turn:
    """Where in a conversation a run belongs.

    Attributes:
        thread: the thread's id.
        if_busy: what to do when another run has it; None for the deployment's way.
        resume: the answer to what the thread was interrupted for.
        checkpoint: the checkpoint to go on from; None for the latest.
        run: the id of the background run it is, which its checkpoints carry.
    """

    thread: str
    if_busy: IfBusy | None = None
    resume: Any = ABSENT
    checkpoint: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class Call:
    """What a run is told besides its input.

    Attributes:
        trace: the trace's id, 32 hexadecimal digits.
        session: the conversation it belongs to, when the caller says so.
        user: who asks, when the caller says so.
        callbacks: LangChain callback handlers that record the run.
        modes: which of LangGraph's stream modes to pass on; empty for the usual ones.
        turn: the thread it runs on, if it runs on one.
    """

    trace: str
    session: str | None = None
    user: str | None = None
    callbacks: tuple[Any, ...] = ()
    modes: tuple[Mode, ...] = ()
    turn: Turn | None = None


@dataclass(frozen=True)
class Event:
    """One thing that happened in a streamed run.

    Attributes:
        kind: `delta` is a piece of the answer, `output` the whole result and always the last event; the
            others are LangGraph's stream modes.
        data: what is sent to the client.
        text: the piece of answer text this event adds, for chat.
    """

    kind: Literal["delta", "output", "values", "updates", "messages", "custom"]
    data: Any
    text: str = ""


class Agent(Protocol):
    """A deployed object.

    Attributes:
        kind: what sort of object it is.
        takes: the shape of its input.
        gives: the JSON schema of its output.
    """

    kind: Kind
    takes: Shape
    gives: dict[str, Any]

    async def invoke(self, values: Any, call: Call, /) -> Any:
        """Run it on what `takes.validate` returned."""

    def stream(self, values: Any, call: Call, /) -> AsyncGenerator[Event]:
        """Run it and tell what happens; ends with one `output` event."""


class Unsupported(Exception):
    """The entry object is not of a kind that can be served."""


@dataclass(frozen=True)
class Collected:
    """The pieces of a streamed answer, put together at the end."""

    pieces: list[Any] = field(default_factory=list)

    def whole(self) -> Any:
        """The text if every piece was text, else the list of pieces."""
        return "".join(self.pieces) if all(isinstance(p, str) for p in self.pieces) else list(self.pieces)


async def last(events: AsyncGenerator[Event]) -> Any:
    """The output of a stream."""
    output = None
    async for event in events:
        output = event.data
    return output


def adapt(subject: object) -> Agent:
    """Wrap an object.

    Raises:
        Unsupported: it is of no kind that can be served.
    """
    kind = kind_of(subject)
    if kind is None:
        raise Unsupported(
            f"{type(subject).__name__} is neither a LangGraph graph, a LangChain runnable nor callable"
        )
    if kind in ("langgraph", "langgraph-builder"):
        from thinkube.serving.graphs import GraphAgent

        return GraphAgent(subject, kind)
    if kind == "runnable":
        from thinkube.serving.runnables import RunnableAgent

        return RunnableAgent(subject)
    from thinkube.serving.functions import FunctionAgent

    return FunctionAgent(subject, kind)


async def graph_of(agent: Agent) -> Any:
    """The LangGraph graph that an agent with threads is, with the checkpointer that keeps them."""
    return await agent.graph()  # type: ignore[attr-defined]
