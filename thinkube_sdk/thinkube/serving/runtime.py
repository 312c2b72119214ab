"""What every request goes through: limits, one trace, cancellation, errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from thinkube.serving.access import Access
from thinkube.serving.agent import Agent, Call, Event, Mode, Turn
from thinkube.serving.log import event, trace_id
from thinkube.serving.metrics import Metrics
from thinkube.serving.thread_store import Threads
from thinkube.serving.traces import Span, Traces
from thinkube.serving.wire import Refused, Unserialisable

CANCEL_SECONDS = 2.0
HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True)
class Limits:
    """Bounds on one request and on all.

    Attributes:
        body: bytes a request's body may have.
        seconds: how long a run may take.
        upload_seconds: how long a request's head, and then its body, may take to arrive.
        runs: how many runs at a time; more are answered with 503.
    """

    body: int = 10 * 2**20
    seconds: float = 300.0
    upload_seconds: float = 30.0
    runs: int = 256


class ClientGone(Exception):
    """The client closed its connection before the answer."""


@dataclass
class Runtime:
    """A loaded agent and everything its requests share."""

    agent: Agent
    name: str
    release: str
    traces: Traces
    limits: Limits
    access: Access = field(default_factory=Access)
    title: str = ""
    threads: Threads | None = None
    draining: bool = False
    running: int = 0

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.name, self.release, lambda: self.running)

    async def body(self, request: Request) -> bytes:
        """Read a request's body within the limits."""
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > self.limits.body:
            raise self._too_large()
        received = bytearray()
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                async for piece in request.stream():
                    received += piece
                    if len(received) > self.limits.body:
                        raise self._too_large()
        except TimeoutError as error:
            message = f"The body did not arrive within {self.limits.upload_seconds:g} s."
            raise Refused(408, "upload_timeout", message, headers={"connection": "close"}) from error
        except ClientDisconnect as error:
            raise ClientGone from error
        return bytes(received)

    async def run(
        self,
        request: Request,
        given: Any,
        values: Any,
        session: str | None,
        user: str | None,
        turn: Turn | None = None,
    ) -> Any:
        """Run the agent once for a client that waits, within its time; stop it when the client goes away."""

        async def once() -> Any:
            async with self.turn(turn):
                with self.traces.call(given, session, user) as span:
                    call = self._call(span, session, user, turn=turn)
                    output = await self._guard(self.agent.invoke(values, call), span)
                    span.output(output)
                    return output

        async with self._slot():
            task = asyncio.create_task(once())
            gone = asyncio.create_task(_gone(request))
            try:
                done, _ = await asyncio.wait(
                    {task, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if task in done:
                    return task.result()
                raise ClientGone if gone in done else self._too_slow()
            finally:
                gone.cancel()
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task}, timeout=CANCEL_SECONDS)

    async def events(
        self,
        given: Any,
        values: Any,
        session: str | None,
        user: str | None,
        modes: tuple[Mode, ...] = (),
        turn: Turn | None = None,
    ) -> AsyncIterator[Event | None]:
        """Run the agent and pass on what happens; None now and then while nothing does.

        Raises:
            Refused: the agent raised, or took too long.
        """
        queue: asyncio.Queue[Event | BaseException] = asyncio.Queue(64)

        async def pump() -> None:
            try:
                async with asyncio.timeout(self.limits.seconds), self.turn(turn):
                    with self.traces.call(given, session, user) as span:
                        call = self._call(span, session, user, modes, turn)
                        await self._guard(_feed(self.agent.stream(values, call), span), span)
            except TimeoutError:
                await queue.put(self._too_slow())
            except Refused as error:
                await queue.put(error)

        async def _feed(events: AsyncIterator[Event], span: Span) -> None:
            async for happened in events:
                if happened.kind == "output":
                    span.output(happened.data)
                await queue.put(happened)

        async with self._slot():
            task = asyncio.create_task(pump())
            try:
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_SECONDS):
                            item = await queue.get()
                    except TimeoutError:
                        yield None
                        continue
                    if isinstance(item, BaseException):
                        raise item
                    yield item
                    if item.kind == "output":
                        await task
                        return
            finally:
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_SECONDS)

    def turn(self, turn: Turn | None) -> AbstractAsyncContextManager[None]:
        """Have the run's thread to oneself, if it runs on one."""
        if turn is None or self.threads is None:
            return nullcontext()
        return self.threads.turn(turn.thread, turn.if_busy)

    def _call(
        self,
        span: Span,
        session: str | None,
        user: str | None,
        modes: tuple[Mode, ...] = (),
        turn: Turn | None = None,
    ) -> Call:
        return Call(_trace(), session, user, span.callbacks, modes, turn)

    async def _guard(self, run: Awaitable[Any], span: Span) -> Any:
        """Turn whatever the agent raises into an error whose id leads to the traceback in the log."""
        try:
            return await run
        except Refused:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            span.failed(error)
            event("the agent raised", logging.ERROR, raised=error)
            raise Refused(
                500,
                "agent_error",
                f"The agent raised {type(error).__name__}. The log has the details under the id {_trace()}.",
            ) from error

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self.running >= self.limits.runs:
            message = f"{self.running} runs are in progress, which is the limit. Try again."
            raise Refused(503, "overloaded", message, headers={"retry-after": "1"})
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    def _too_large(self) -> Refused:
        message = f"The body is larger than {self.limits.body} bytes."
        return Refused(413, "body_too_large", message, headers={"connection": "close"})

    def _too_slow(self) -> Refused:
        return Refused(
            504, "run_timeout", f"The run took longer than {self.limits.seconds:g} s and was stopped."
        )


def unserialisable(error: Unserialisable) -> Refused:
    """The error of a run whose result has no JSON form."""
    event("the result has no JSON form", logging.ERROR, reason=str(error))
    return Refused(500, "output_unserialisable", f"The agent's result can't be written as JSON: {error}.")


def _trace() -> str:
    trace = trace_id.get()
    assert trace is not None
    return trace


async def _gone(request: Request) -> None:
    with suppress(asyncio.CancelledError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
