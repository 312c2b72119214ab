"""Blocking code off the event loop: one thread a run, which ends when the run is cancelled.

A thread of its own rather than a pool's: code that never returns then holds up only itself, and the
exception that stops it can't hit the pool's next job.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
AHEAD = 64  # items a generator may be ahead of a slow client


class RunStopped(BaseException):
    """Raised inside blocking code whose caller has gone away or whose time is up."""


async def in_thread(function: Callable[[], T], *, settle: bool = False) -> T:
    """Run blocking code, with the caller's context variables, and return its result.

    When the awaiting task is cancelled, `RunStopped` is raised in the code at its next bytecode.

    Args:
        settle: a cancelled caller waits until the code has really ended.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    ended = asyncio.Event()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            value = context.run(function)
        except RunStopped:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the awaiting task, whatever it is
            _post(loop, _fail, future, error)
        else:
            _post(loop, _finish, future, value)
        finally:
            _post(loop, ended.set)

    thread = threading.Thread(target=body, name="agent-run", daemon=True)
    thread.start()
    try:
        return await future
    except asyncio.CancelledError:
        _stop(thread)
        if settle:
            await ended.wait()
        raise


async def iterate_in_thread(start: Callable[[], Iterator[T]], *, settle: bool = False) -> AsyncGenerator[T]:
    """Iterate over blocking code in a thread, at most `AHEAD` items ahead of the consumer."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
    room = threading.Semaphore(AHEAD)
    closed = threading.Event()
    context = contextvars.copy_context()

    def body() -> None:
        try:
            for item in start():
                room.acquire()
                if closed.is_set():
                    return
                _post(loop, queue.put_nowait, ("item", item))
            _post(loop, queue.put_nowait, ("end", None))
        except RunStopped:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, whatever it is
            _post(loop, queue.put_nowait, ("error", error))
        finally:
            _post(loop, ended.set)

    thread = threading.Thread(target=context.run, args=(body,), name="agent-run", daemon=True)
    thread.start()
    try:
        while True:
            what, value = await queue.get()
            if what == "end":
                return
            if what == "error":
                raise value
            room.release()
            yield value
    finally:
        closed.set()
        room.release()
        _stop(thread)
        if settle:
            await ended.wait()


def _finish(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        if isinstance(error, StopIteration):  # which a future refuses
            wrapped = RuntimeError("the agent raised StopIteration")
            wrapped.__cause__ = error
            error = wrapped
        future.set_exception(error)


def _post(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)


def _stop(thread: threading.Thread) -> None:
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(RunStopped))
