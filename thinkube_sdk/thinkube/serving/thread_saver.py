"""What threads need of a checkpointer beside LangGraph's part: lists, copies, writes that are finished."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import UUID

T = TypeVar("T")
INTERRUPT = "__interrupt__"
_GREGORIAN = 0x01B21DD213814000  # 100 ns ticks from 1582 to 1970


@dataclass(frozen=True)
class Found:
    """A thread as the store knows it, without its values.

    Attributes:
        first: the id of its first checkpoint.
        latest: the id of its latest.
        interrupted: it waits for an answer.
    """

    thread: str
    first: str
    latest: str
    interrupted: bool


class Saver(Protocol):
    """Where a deployment keeps its threads; also a LangGraph checkpointer."""

    async def threads(self, limit: int, before: str | None, interrupted: bool | None) -> list[Found]:
        """The threads whose latest checkpoint is older than `before`, latest first."""

    async def copy(self, source: str, until: str, target: str) -> None:
        """Copy a thread's checkpoints up to one of them."""

    async def adelete_thread(self, thread: str) -> None:
        """Remove all of a thread."""

    async def settled(self) -> None:
        """Wait until the writes that were begun are done."""

    async def aclose(self) -> None:
        """Close the store."""


class Writes:
    """Writes that a cancelled run has begun are finished: half of one would stay open in the database."""

    def __init__(self) -> None:
        self._begun: set[asyncio.Task[Any]] = set()

    async def finish(self, write: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(write)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)

    async def settled(self) -> None:
        if self._begun:
            await asyncio.wait(set(self._begun))


def when(checkpoint: str) -> str:
    """The time in a checkpoint's id, which is a UUID of version 6.

    Example:
        >>> when("1ef4f797-8335-6428-8001-8a1503f9b875")
        '2024-07-31T20:14:19.804150+00:00'
    """
    bits = UUID(checkpoint).int
    ticks = (bits >> 80) << 12 | (bits >> 64) & 0xFFF
    seconds = (ticks - _GREGORIAN) / 10_000_000
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
