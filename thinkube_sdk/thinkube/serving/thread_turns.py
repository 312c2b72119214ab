"""One run at a time on a thread: who waits, who is refused, who is interrupted."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from thinkube.serving.log import event
from thinkube.serving.thread_locks import Locks, LocksLost, number
from thinkube.serving.wire import Refused

IfBusy = Literal["reject", "queue", "interrupt"]
STRATEGIES: tuple[IfBusy, ...] = get_args(IfBusy)
LOOK_SECONDS = 0.05  # how often another process's lock is tried, and its questions are read


@dataclass(eq=False)
class _Hold:
    """A thread that this process runs."""

    task: asyncio.Task[Any] | None
    stopped: Refused | None = None

    def stop(self, reason: Refused) -> None:
        if self.task is not None and self.stopped is None:
            self.stopped = reason
            self.task.cancel()


@dataclass
class _Queue:
    """Those who wait in this process for one thread, in their order."""

    hold: _Hold | None = None
    waiting: deque[asyncio.Event] = field(default_factory=deque)


class Turns:
    """Gives each thread to one run at a time, over all processes that share the locks.

    Args:
        locks: locks over processes.
        if_busy: what happens to a request on a busy thread that does not say.
        settled: waits until everything that was to be written is.
    """

    def __init__(self, locks: Locks, if_busy: IfBusy, settled: Callable[[], Awaitable[None]]) -> None:
        self._locks = locks
        self._if_busy = if_busy
        self._settled = settled
        self._queues: dict[str, _Queue] = {}
        self._watch: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(
        self, thread: str, if_busy: IfBusy | None = None, *, brief: bool = False
    ) -> AsyncIterator[None]:
        """Have a thread to oneself.

        Args:
            if_busy: what to do when another has it.
            brief: it is only for a moment and can't be interrupted.

        Raises:
            Refused: it is busy; or another request interrupted this one.
        """
        task = asyncio.current_task()
        hold = _Hold(None if brief else task)
        await self._take(thread, hold, if_busy or self._if_busy)
        try:
            yield
        except asyncio.CancelledError:
            if hold.stopped is None or task is None:
                raise
            task.uncancel()
            raise hold.stopped from None
        finally:
            hold.task = None
            # In a task of its own: a second cancellation must not leave the thread locked.
            await asyncio.shield(asyncio.ensure_future(self._release(thread)))

    async def busy(self, thread: str) -> bool:
        """Whether a run has the thread, here or in another process."""
        queue = self._queues.get(thread)
        if queue is not None and queue.hold is not None:
            return True
        if not await self._locks.take(thread):
            return True
        await self._locks.drop(thread)
        return False

    async def _take(self, thread: str, hold: _Hold, if_busy: IfBusy) -> None:
        queue = self._queues.setdefault(thread, _Queue())
        turn = asyncio.Event()
        if if_busy == "interrupt":
            queue.waiting.appendleft(turn)
        else:
            queue.waiting.append(turn)
        try:
            while not await self._try(queue, turn, thread, hold):
                if if_busy == "reject":
                    raise _busy(thread)
                if if_busy == "interrupt":
                    await self._interrupt(queue, thread)
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await turn.wait()
                except TimeoutError:
                    pass
                turn.clear()
        finally:
            queue.waiting.remove(turn)
            if queue.hold is not hold:
                self._next(thread, queue)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())

    async def _try(self, queue: _Queue, turn: asyncio.Event, thread: str, hold: _Hold) -> bool:
        if queue.hold is not None or queue.waiting[0] is not turn:
            return False
        queue.hold = hold  # before the first await
        taken = False
        try:
            taken = await self._locks.take(thread)
        finally:
            if not taken:
                queue.hold = None
        return taken

    async def _interrupt(self, queue: _Queue, thread: str) -> None:
        if queue.hold is not None:
            queue.hold.stop(_interrupted(thread))
        else:
            await self._locks.ask(thread)

    async def _release(self, thread: str) -> None:
        queue = self._queues[thread]
        try:
            await self._settled()
            await self._locks.drop(thread)
        finally:
            queue.hold = None
            self._next(thread, queue)

    def _next(self, thread: str, queue: _Queue) -> None:
        if queue.waiting:
            queue.waiting[0].set()
        elif queue.hold is None:
            self._queues.pop(thread, None)

    async def _look(self) -> None:
        """While runs have threads here, hear which of them another process asks for."""
        while holds := {number(thread): (thread, q.hold) for thread, q in self._queues.items() if q.hold}:
            try:
                asked = await self._locks.asked()
            except LocksLost as error:
                event("the locks on threads are lost: their runs are stopped", logging.ERROR, raised=error)
                for thread, hold in holds.values():
                    if hold is not None:
                        hold.stop(_lost(thread))
                return
            for each in asked & holds.keys():
                thread, hold = holds[each]
                if hold is not None:
                    hold.stop(_interrupted(thread))
            await asyncio.sleep(LOOK_SECONDS)


def _busy(thread: str) -> Refused:
    return Refused(
        409,
        "thread_busy",
        f"A run is in progress on thread {thread!r}. Wait for it, or send if_busy: queue or interrupt.",
        param="thread_id",
        headers={"retry-after": "1"},
    )


def _interrupted(thread: str) -> Refused:
    return Refused(
        409,
        "run_interrupted",
        f"Another request on thread {thread!r} interrupted this run; what it had checkpointed is kept.",
    )


def _lost(thread: str) -> Refused:
    return Refused(
        503,
        "thread_lock_lost",
        f"The database that locks thread {thread!r} went away; the run was stopped at its last checkpoint.",
        headers={"retry-after": "1"},
    )
