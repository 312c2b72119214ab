"""Threads in Postgres, in a schema of the deployment's own, shared by replicas anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from thinkube.serving.thread_locks import PostgresLocks, number
from thinkube.serving.thread_saver import INTERRUPT, Found, Writes

_CONNECTIONS = 16
_WAIT_SECONDS = 30.0
_LIST = """
SELECT thread_id, first, latest, interrupted FROM (
  SELECT t.*, EXISTS (SELECT 1 FROM checkpoint_writes w WHERE w.thread_id = t.thread_id
      AND w.checkpoint_ns = '' AND w.checkpoint_id = t.latest AND w.channel = %(channel)s) AS interrupted
  FROM (SELECT thread_id, MIN(checkpoint_id) AS first, MAX(checkpoint_id) AS latest
    FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id) t) listed
WHERE (%(before)s::text IS NULL OR latest < %(before)s)
  AND (%(interrupted)s::boolean IS NULL OR interrupted = %(interrupted)s)
ORDER BY latest DESC LIMIT %(limit)s
"""
_COPY = (
    """INSERT INTO checkpoints
       (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
       FROM checkpoints WHERE thread_id = %(source)s AND checkpoint_id <= %(until)s""",
    """INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
       SELECT %(target)s, checkpoint_ns, channel, version, type, blob
       FROM checkpoint_blobs WHERE thread_id = %(source)s""",
    """INSERT INTO checkpoint_writes
       (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
       SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
       FROM checkpoint_writes WHERE thread_id = %(source)s AND checkpoint_id <= %(until)s""",
)


class PostgresSaver(AsyncPostgresSaver):
    """See `Saver`."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__(pool)
        self._pool = pool
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
        asked = {"channel": INTERRUPT, "before": before, "interrupted": interrupted, "limit": limit}
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_LIST, asked)).fetchall()
        return [Found(row["thread_id"], row["first"], row["latest"], row["interrupted"]) for row in rows]

    async def copy(self, source: str, until: str, target: str) -> None:
        await self._writes.finish(self._copy({"source": source, "until": until, "target": target}))

    async def _copy(self, values: dict[str, str]) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            for statement in _COPY:
                await connection.execute(statement, values)

    async def aclose(self) -> None:
        await self.settled()
        await self._pool.close()


async def opened(url: str, name: str) -> tuple[PostgresSaver, PostgresLocks]:
    """Open the store of a deployment, made if it isn't there, and its locks.

    Raises:
        psycopg.Error: the database can't be reached or refuses.
    """
    schema = f"thinkube_{name.replace('-', '_')}"
    session = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
    locks = PostgresLocks(session, schema)
    try:
        await locks.listen()
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row,
                   "options": f"-c search_path={schema}"}  # fmt: skip
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            url, min_size=1, max_size=_CONNECTIONS, kwargs=options, open=False, timeout=_WAIT_SECONDS
        )
        await pool.open(wait=True)
        saver = PostgresSaver(pool)
        await _set_up(session, saver, schema)
    except BaseException:
        await session.close()
        raise
    return saver, locks


async def _set_up(session: Any, saver: PostgresSaver, schema: str) -> None:
    """Make the tables, one process at a time.

    The lock is tried rather than waited for: an index that is made concurrently waits for every
    statement that has begun, so for one that waits for the lock.
    """
    key = (number(f"{schema} set up"),)
    async with asyncio.timeout(_WAIT_SECONDS * 2):
        taken = False
        while not taken:
            rows = await session.execute("SELECT pg_try_advisory_lock(%s)", key)
            taken = (await rows.fetchone())[0] or await asyncio.sleep(0.1, False)
    try:
        await session.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await saver.setup()
    finally:
        await session.execute("SELECT pg_advisory_unlock(%s)", key)
