"""Threads in a SQLite file, shared by the processes of one machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from thinkube.serving.thread_saver import INTERRUPT, Found, Writes

_WAIT_SECONDS = 30  # for another process's write
_LIST = """
SELECT thread_id, first, latest, interrupted FROM (
  SELECT t.*, EXISTS (SELECT 1 FROM writes w WHERE w.thread_id = t.thread_id AND w.checkpoint_ns = ''
      AND w.checkpoint_id = t.latest AND w.channel = ?) AS interrupted
  FROM (SELECT thread_id, MIN(checkpoint_id) AS first, MAX(checkpoint_id) AS latest
    FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id) t)
WHERE (? IS NULL OR latest < ?) AND (? IS NULL OR interrupted = ?)
ORDER BY latest DESC LIMIT ?
"""


class SqliteSaver(AsyncSqliteSaver):
    """See `Saver`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        super().__init__(connection)
        self._writes = Writes()

    async def aput(self, *given: Any, **named: Any) -> Any:
        return await self._writes.finish(super().aput(*given, **named))

    async def aput_writes(self, *given: Any, **named: Any) -> None:
        await self._writes.finish(super().aput_writes(*given, **named))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._writes.finish(super().adelete_thread(thread_id))

    async def settled(self) -> None:
        await self._writes.settled()

    async def threads(self, limit: int, before: str | None, interrupted: bool | None) -> list[Found]:
        async with (
            self.lock,
            self.conn.execute(_LIST, (INTERRUPT, before, before, interrupted, interrupted, limit)) as rows,
        ):
            return [Found(row[0], row[1], row[2], bool(row[3])) async for row in rows]

    async def copy(self, source: str, until: str, target: str) -> None:
        await self._writes.finish(self._copy(source, until, target))

    async def _copy(self, source: str, until: str, target: str) -> None:
        async with self.lock:
            for table in ("checkpoints", "writes"):
                columns = await self._columns(table)
                listed = ", ".join(columns)
                await self.conn.execute(
                    f"INSERT INTO {table} (thread_id, {listed}) SELECT ?, {listed} FROM {table} "
                    "WHERE thread_id = ? AND checkpoint_id <= ?",
                    (target, source, until),
                )
            await self.conn.commit()

    async def _columns(self, table: str) -> Sequence[str]:
        async with self.conn.execute(f"PRAGMA table_info({table})") as rows:
            return [row[1] async for row in rows if row[1] != "thread_id"]

    async def aclose(self) -> None:
        await self.settled()
        await self.conn.close()


async def opened(file: Path) -> SqliteSaver:
    """Open the store, made if it isn't there."""
    connection = await aiosqlite.connect(file, timeout=_WAIT_SECONDS)
    # With a write-ahead log no kill of the process loses a commit; only a loss of power may.
    await connection.execute("PRAGMA synchronous=NORMAL")
    saver = SqliteSaver(connection)
    await saver.setup()
    return saver
