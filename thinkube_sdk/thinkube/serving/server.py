"""The HTTP server: an inherited listening socket, a word when ready, and a drain that drops nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import uvicorn

from thinkube.serving.log import event
from thinkube.serving.runtime import Runtime

KEEP_ALIVE_SECONDS = 75
# Longer than HTTP clients keep an idle connection for reuse (httpx: 5 s): none is closed under a request.
IDLE_SECONDS = 8.0
BACKLOG = 2048
THREADS = 64


class Server(uvicorn.Server):
    """Uvicorn, with another way to stop.

    SIGTERM drains: no new connections; each open one is answered its next request with
    `Connection: close`, or closed after `IDLE_SECONDS` without one. SIGINT closes idle ones at once.
    Runs in progress get their time in both cases.
    """

    def __init__(self, config: uvicorn.Config, runtime: Runtime, ready_fd: int | None) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._ready_fd = ready_fd
        self._at_once = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        self.should_exit = True
        self._at_once = self._at_once or sig == signal.SIGINT
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_accepting)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        # Where LangChain runs blocking nodes and tools; the usual few threads would queue them.
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS, "agent-step"))
        await super().startup(sockets)
        if self.should_exit:
            self._stop_accepting()
        elif self.started and self._ready_fd is not None:
            announce(self._ready_fd, {"ok": True, "kind": self._runtime.agent.kind})

    def _stop_accepting(self) -> None:
        """Close the listening sockets; the ready pipe's end tells the supervisor that this is done."""
        for server in self.servers:
            server.close()
        self._runtime.draining = True
        if self._ready_fd is not None:
            os.close(self._ready_fd)
            self._ready_fd = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop_accepting()
        event("draining", connections=len(self.server_state.connections))
        deadline = time.monotonic() + IDLE_SECONDS
        # Uvicorn tells nobody when a connection closes.
        while self.server_state.connections and not self._at_once and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        event("stopped")


def announce(descriptor: int, report: dict[str, Any]) -> None:
    """Tell the supervisor that this process is ready, or why it won't be."""
    os.write(descriptor, json.dumps(report).encode() + b"\n")


def serve(runtime: Runtime, *, host: str, port: int, socket_fd: int | None, ready_fd: int | None) -> None:
    """Serve until told to stop."""
    from thinkube.serving.app import application
    from thinkube.serving.connections import punctual

    config = uvicorn.Config(
        application(runtime),
        host=host,
        port=port,
        http=punctual(runtime.limits.upload_seconds),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(runtime.limits.seconds),
    )
    sockets = None if socket_fd is None else [socket.socket(fileno=socket_fd)]
    server = Server(config, runtime, ready_fd)
    server.run(sockets)
