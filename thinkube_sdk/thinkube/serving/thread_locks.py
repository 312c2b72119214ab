"""Which process runs a thread: locks that a process can't leave behind.

On one machine a lock is a byte of one file, taken with POSIX record locks: the kernel frees it when its
process ends, however it ends. On Postgres it is an advisory lock of a session that is open as long as the
process is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

_STALE_SECONDS = 5.0


class LocksLost(Exception):
    """The locks this process held are no longer its own."""


class Locks(Protocol):
    """Locks on threads over all processes of a deployment. Within one process they do not exclude."""

    async def take(self, thread: str, /) -> bool:
        """Lock a thread; False if another process has it. Also forgets that anyone asked for it."""

    async def drop(self, thread: str, /) -> None:
        """Let go of a thread."""

    async def ask(self, thread: str, /) -> None:
        """Ask the process that has a thread to interrupt its run."""

    async def asked(self) -> frozenset[int]:
        """The numbers of threads that others ask for.

        Raises:
            LocksLost: this process may no longer count on its locks.
        """

    async def close(self) -> None:
        """Let go of everything."""


def number(thread: str) -> int:
    """A thread as a number that locks can be taken on."""
    return int.from_bytes(sha256(thread.encode()).digest()[:8], "big") >> 2


class FileLocks:
    """Locks for the processes of one machine.

    Args:
        folder: a folder that all of them share.
    """

    def __init__(self, folder: Path) -> None:
        self._asked = folder / "asked"
        self._asked.mkdir(parents=True, exist_ok=True)
        self._file = os.open(folder / "threads.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    async def take(self, thread: str, /) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number(thread))
        except (BlockingIOError, PermissionError):
            return False
        with contextlib.suppress(FileNotFoundError):
            self._mark(thread).unlink()
        return True

    async def drop(self, thread: str, /) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number(thread))

    async def ask(self, thread: str, /) -> None:
        self._mark(thread).touch()

    async def asked(self) -> frozenset[int]:
        found, now = set(), time.time()
        for name in os.listdir(self._asked):  # noqa: PTH208 - ten times a second
            with contextlib.suppress(FileNotFoundError):
                if now - (self._asked / name).stat().st_mtime < _STALE_SECONDS:
                    found.add(int(name, 16))
                else:
                    (self._asked / name).unlink()  # whoever asked has gone away
        return frozenset(found)

    async def close(self) -> None:
        os.close(self._file)

    def _mark(self, thread: str) -> Path:
        return self._asked / f"{number(thread):016x}"


class PostgresLocks:
    """Locks for processes that share a database.

    Args:
        connection: a psycopg AsyncConnection in autocommit mode that nothing else uses.
        space: tells this deployment's locks from another's in the same database.
    """

    def __init__(self, connection: Any, space: str) -> None:
        self._connection = connection
        self._space = space
        self._channel = f"thinkube_{number(space):016x}"
        self._told: set[int] = set()
        connection.add_notify_handler(lambda told: self._told.add(int(told.payload)))

    async def listen(self) -> None:
        """Hear what other processes ask for."""
        await self._connection.execute(f'LISTEN "{self._channel}"')

    async def take(self, thread: str, /) -> bool:
        rows = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key(thread),))
        taken = bool((await rows.fetchone())[0])
        if taken:
            self._told.discard(number(thread))
        return taken

    async def drop(self, thread: str, /) -> None:
        if not self._connection.broken:
            await self._connection.execute("SELECT pg_advisory_unlock(%s)", (self._key(thread),))

    async def ask(self, thread: str, /) -> None:
        await self._connection.execute("SELECT pg_notify(%s, %s)", (self._channel, str(number(thread))))

    async def asked(self) -> frozenset[int]:
        import psycopg

        try:
            await self._connection.execute("SELECT 1")  # also brings the notifications in
        except psycopg.Error as error:
            raise LocksLost(str(error)) from error
        told, self._told = frozenset(self._told), set()
        return told

    async def close(self) -> None:
        await self._connection.close()

    def _key(self, thread: str) -> int:
        return number(f"{self._space}\0{thread}")
