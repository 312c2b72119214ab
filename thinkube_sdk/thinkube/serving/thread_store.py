"""A deployment's threads: opened with the first that is used, and never before."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from thinkube.serving.log import event
from thinkube.serving.thread_locks import FileLocks, Locks
from thinkube.serving.thread_saver import Saver
from thinkube.serving.thread_turns import IfBusy, Turns
from thinkube.serving.wire import Refused


@dataclass(frozen=True)
class Place:
    """Where threads are kept.

    Attributes:
        name: the deployment's name.
        folder: a folder that outlives releases.
        url: a Postgres database that is used instead of a file there.
        if_busy: what happens to a request on a busy thread that does not say.
    """

    name: str
    folder: Path
    url: str | None = None
    if_busy: IfBusy = "queue"

    def __str__(self) -> str:
        if self.url is None:
            return str(self.folder / "threads.sqlite")
        parts = urlsplit(self.url)
        return f"Postgres at {parts.hostname or 'localhost'}{parts.path}"  # without the credential

    @property
    def missing(self) -> str:
        """The distribution that is needed and not installed; empty if none is."""
        module, name = ("postgres", "postgres") if self.url else ("sqlite", "sqlite")
        found = importlib.util.find_spec(f"langgraph.checkpoint.{module}")
        return "" if found else f"langgraph-checkpoint-{name}"


@dataclass(frozen=True)
class _Open:
    saver: Saver | None
    turns: Turns
    locks: Locks


class Threads:
    """The threads of a deployment.

    Args:
        place: where they are kept.
        own: the agent brings a checkpointer that keeps them; only their order is ours.
    """

    def __init__(self, place: Place, *, own: bool = False) -> None:
        self.place = place
        self.own = own
        self._open: _Open | None = None
        self._opening = asyncio.Lock()

    async def saver(self) -> Saver:
        """The checkpointer.

        Raises:
            Refused: the agent has its own; or the store can't be opened.
        """
        saver = (await self._opened()).saver
        if saver is None:
            raise Refused(
                501,
                "own_checkpointer",
                "This agent has a checkpointer of its own, which tells no list and makes no copy.",
            )
        return saver

    @asynccontextmanager
    async def turn(
        self, thread: str, if_busy: IfBusy | None = None, *, brief: bool = False
    ) -> AsyncIterator[None]:
        """Have a thread to oneself; see `Turns.turn`."""
        turns = (await self._opened()).turns
        async with turns.turn(thread, if_busy, brief=brief):
            yield

    async def busy(self, thread: str) -> bool:
        return await (await self._opened()).turns.busy(thread)

    async def close(self) -> None:
        if self._open is not None:
            if self._open.saver is not None:
                await self._open.saver.aclose()
            await self._open.locks.close()
            self._open = None

    async def _opened(self) -> _Open:
        if self._open is None:
            async with self._opening:
                if self._open is None:
                    self._open = await self._start()
        return self._open

    async def _start(self) -> _Open:
        place = self.place
        if not self.own and place.missing:
            message = f"Threads need {place.missing}, which is not in this deployment's environment."
            fix = f"Install {place.missing} where you deploy, and deploy again."
            raise Refused(501, "threads_unavailable", f"{message} {fix}")
        saver: Saver | None
        locks: Locks
        try:
            if place.url is not None:
                saver, locks = await self._postgres(place.url)
            else:
                place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                locks, saver = FileLocks(place.folder), None
                if not self.own:
                    from thinkube.serving.thread_sqlite import opened

                    saver = await opened(place.folder / "threads.sqlite")
        except Exception as error:
            event("threads can't be kept", logging.ERROR, raised=error, place=str(place))
            raise Refused(
                503,
                "threads_unavailable",
                f"Threads can't be kept in {place}: {type(error).__name__}. Set THINKUBE_STATE to a folder "
                "that can be written, or THINKUBE_THREADS_URL to a Postgres that answers.",
            ) from error
        event("threads are kept", place="the agent's own checkpointer" if self.own else str(place))
        return _Open(saver, Turns(locks, place.if_busy, self._settled), locks)

    async def _postgres(self, url: str) -> tuple[Saver | None, Locks]:
        from thinkube.serving.thread_postgres import opened

        saver, locks = await opened(url, self.place.name)
        return (None if self.own else saver), locks

    async def _settled(self) -> None:
        if self._open is not None and self._open.saver is not None:
            await self._open.saver.settled()
