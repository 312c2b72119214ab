"""The state of a graph's thread: read, go on from, change. Over any checkpointer, blocking or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from thinkube.serving.agent import Turn
from thinkube.serving.shapes import ABSENT
from thinkube.serving.threads import in_thread
from thinkube.serving.wire import Refused

Memory = Literal["off", "asked", "replaced", "own"]


@dataclass(frozen=True)
class Position:
    """A checkpoint of a thread.

    Attributes:
        next: the nodes that would run next; none where the run has ended.
        interrupts: what the thread waits for, each with the id to answer it by.
        failed: the nodes that raised at this checkpoint.
        run: the background run that made it.
    """

    thread: str
    checkpoint: str
    parent: str | None
    created: str
    step: int | None
    source: str | None
    next: tuple[str, ...]
    values: Any
    interrupts: tuple[Mapping[str, Any], ...]
    failed: tuple[str, ...]
    run: str | None

    def shown(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "thread_id": self.thread,
            "checkpoint_id": self.checkpoint,
            "parent_checkpoint_id": self.parent,
            "created_at": self.created,
            "step": self.step,
            "source": self.source,
            "next": list(self.next),
            "values": self.values,
            "interrupts": list(self.interrupts),
            "failed": list(self.failed),
        }


def memory_of(graph: Any) -> Memory:
    """What a graph's author said about threads."""
    checkpointer = getattr(graph, "checkpointer", None)
    if checkpointer is False:
        return "off"
    if checkpointer is None or checkpointer is True:
        return "asked"
    return "replaced" if in_memory(checkpointer) else "own"


def in_memory(checkpointer: Any) -> bool:
    """Whether it is LangGraph's checkpointer that a process takes with it when it ends."""
    # By name: a subclass may well do something of its own.
    kind = type(checkpointer)
    return kind.__name__ in ("InMemorySaver", "MemorySaver") and kind.__module__.startswith("langgraph.")


def only_blocking(graph: Any) -> bool:
    """Whether a graph's checkpointer has no asynchronous form: its runs belong into a thread."""
    from langgraph.checkpoint.base import BaseCheckpointSaver

    checkpointer = getattr(graph, "checkpointer", None)
    if not isinstance(checkpointer, BaseCheckpointSaver):
        return False
    # SqliteSaver overrides the asynchronous methods only to refuse them.
    kind = type(checkpointer)
    return kind.aput is BaseCheckpointSaver.aput or kind.__name__ == "SqliteSaver"


def bound(graph: Any, checkpointer: Any) -> Any:
    """The graph with another checkpointer; its parts that kept their own memory keep it there too."""
    for _, part in graph.get_subgraphs(recurse=True):
        if in_memory(getattr(part, "checkpointer", None)):
            part.checkpointer = True
    return graph.copy({"checkpointer": checkpointer})


async def begin(graph: Any, turn: Turn, values: Any) -> Any:
    """What a run on a thread is given: its input, the answer to an interrupt, or nothing to go on.

    Raises:
        Refused: there is no such thread or checkpoint; or nothing to resume.
    """
    if turn.resume is ABSENT and turn.checkpoint is None:
        return values
    position = await read(graph, turn.thread, turn.checkpoint)
    if turn.resume is ABSENT:
        return values
    if position.interrupts:
        if turn.resume is None:
            raise Refused(422, "invalid_input", "null is no answer to an interrupt.", param="resume")
        from langgraph.types import Command

        return Command(resume=turn.resume)
    if not position.next:
        raise Refused(
            409, "nothing_to_resume", f"Thread {turn.thread!r} waits for nothing: its last run has ended."
        )
    if turn.resume is not None:
        before = ", ".join(position.next)
        message = f"Thread {turn.thread!r} stands before {before} and asks nothing: resume it with null."
        raise Refused(409, "nothing_to_resume", message)
    return None


async def read(graph: Any, thread: str, checkpoint: str | None = None) -> Position:
    """A thread at its latest checkpoint, or at the one named.

    Raises:
        Refused: there is none.
    """
    position = _position(await _call(graph, "get_state", _config(thread, checkpoint)), thread)
    if position is None:
        raise not_found(thread, checkpoint)
    return position


async def history(graph: Any, thread: str, limit: int, before: str | None) -> list[Position]:
    """A thread's checkpoints, latest first."""
    config = _config(thread)
    earlier = _config(thread, before) if before else None
    if only_blocking(graph):
        found = await in_thread(lambda: list(graph.get_state_history(config, before=earlier, limit=limit)))
    else:
        found = [each async for each in graph.aget_state_history(config, before=earlier, limit=limit)]
    return [position for each in found if (position := _position(each, thread)) is not None]


async def update(graph: Any, thread: str, checkpoint: str | None, values: Any, as_node: str | None) -> str:
    """Write values into a thread as a node of it would; the new checkpoint's id.

    Raises:
        Refused: the graph does not take them.
    """
    from langgraph.errors import InvalidUpdateError

    try:
        config = await _call(graph, "update_state", _config(thread, checkpoint), values, as_node)
    except (InvalidUpdateError, ValueError, KeyError, TypeError) as error:
        raise Refused(422, "invalid_update", f"The graph does not take this update: {error}.") from error
    return str(config["configurable"]["checkpoint_id"])


async def remove(graph: Any, thread: str) -> None:
    """Delete all of a thread."""
    saver = graph.checkpointer
    if only_blocking(graph):
        await in_thread(lambda: saver.delete_thread(thread), settle=True)
    else:
        await saver.adelete_thread(thread)


def not_found(thread: str, checkpoint: str | None = None) -> Refused:
    if checkpoint:
        return Refused(404, "checkpoint_not_found", f"Thread {thread!r} has no checkpoint {checkpoint!r}.")
    return Refused(404, "thread_not_found", f"There is no thread {thread!r}.")


async def _call(graph: Any, method: str, *given: Any) -> Any:
    if only_blocking(graph):
        return await in_thread(lambda: getattr(graph, method)(*given), settle=True)
    return await getattr(graph, f"a{method}")(*given)


def _config(thread: str, checkpoint: str | None = None) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, **({"checkpoint_id": checkpoint} if checkpoint else {})}}


def _position(state: Any, thread: str) -> Position | None:
    if state.created_at is None:
        return None
    metadata = state.metadata or {}
    parent = (state.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    return Position(
        thread=thread,
        checkpoint=str(state.config["configurable"]["checkpoint_id"]),
        parent=parent,
        created=state.created_at,
        step=metadata.get("step"),
        source=metadata.get("source"),
        next=tuple(state.next),
        values=state.values,
        interrupts=interrupts_of(state.interrupts),
        failed=tuple(task.name for task in state.tasks if task.error),
        run=metadata.get("run"),
    )  # fmt: skip


def interrupts_of(found: Any) -> tuple[Mapping[str, Any], ...]:
    """Interrupts as clients see them."""
    return tuple({"id": each.id, "value": each.value} for each in found or ())
