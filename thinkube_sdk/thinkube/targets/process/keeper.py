"""Keeps one release of an agent running: first start, restarts after a crash, drain.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.targets.child import Child, ChildFailed, exit_words
from thinkube.targets.failure import Failure

PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0)
LOOP = 3  # failures in a row that make a crash loop
STABLE_SECONDS = 60.0
TAIL = 20


@dataclass(frozen=True)
class Program:
    """How a release's process is started."""

    name: str
    version: int
    bundle: Path
    python: Path
    env: Mapping[str, str]
    timeout: float


class Worker:
    """One process that serves on the deployment's socket."""

    def __init__(self, program: Program, listener: socket.socket, log: Path) -> None:
        read, write = os.pipe()
        self._program = program
        self._ready = read
        self._deadline = float("inf")
        try:
            self.child = Child(
                _argv(program, listener.fileno(), write),
                program.env,
                log,
                cwd=program.bundle,
                pass_fds=(listener.fileno(), write),
            )
        except ChildFailed:
            os.close(read)
            raise
        finally:
            os.close(write)

    def wait_ready(self, cancelled: Callable[[], bool] = lambda: False) -> Failure | None:
        """Wait for its word on the ready pipe; None when it serves. A process that failed is ended."""
        deadline = time.monotonic() + self._program.timeout
        said = b""
        try:
            while not said.endswith(b"\n"):
                if cancelled():
                    return self._failed("cancelled", "", "the rollout was interrupted")
                if time.monotonic() > deadline:
                    return self._failed("timeout", "", f"it was not ready after {self._program.timeout:g} s")
                if select.select([self._ready], [], [], 0.1)[0]:
                    piece = os.read(self._ready, 65536)
                    if not piece:
                        return self._failed("exited", "", "")
                    said += piece
        finally:
            if not said.endswith(b"\n"):
                os.close(self._ready)
        report = json.loads(said)
        if report["ok"]:
            return None
        os.close(self._ready)
        return self._failed("raised", report["error"], report["message"], tuple(report["frames"]))

    def _failed(
        self, how: str, error: str, message: str, frames: tuple[Mapping[str, Any], ...] = ()
    ) -> Failure:
        code = self.child.stop(0.0 if how == "timeout" else 5.0)
        if how == "exited":
            message = f"its process ended with {exit_words(code)} before it was ready"
        return Failure(how, error, message, frames, self.child.tail(TAIL))

    def turn_away(self, seconds: float) -> None:
        """Let it take no more connections; wait for that, at most `seconds`."""
        self._signal(signal.SIGTERM)
        select.select([self._ready], [], [], seconds)  # it closes its end of the pipe then

    def drain(self, seconds: float) -> None:
        """Let it finish what it has and end; by force after `seconds`."""
        self._finish(signal.SIGTERM, seconds)

    def stop(self, seconds: float) -> None:
        """As `drain`, without waiting for connections that are idle; shortens a drain that is under way."""
        self._finish(signal.SIGINT, seconds)

    def _finish(self, number: int, seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self._signal(number)
        while self.child.alive and time.monotonic() < self._deadline:
            time.sleep(0.02)
        self.child.stop(0.0)

    def _signal(self, number: int) -> None:
        if self.child.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, number)  # not its group: its own children serve its last requests

    def close(self) -> None:
        """Let go of its pipe, when it has ended."""
        os.close(self._ready)


class Keeper:
    """Keeps a program running until it is drained or stopped."""

    def __init__(self, program: Program, listener: socket.socket, log: Path) -> None:
        self.program = program
        self._listener = listener
        self._log = log
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._watch: threading.Thread | None = None
        self.state = "starting"
        self.restarts = 0
        self.detail = ""

    @property
    def pid(self) -> int | None:
        worker = self._worker
        return worker.child.pid if worker is not None and worker.child.alive else None

    def start(self, cancelled: Callable[[], bool]) -> Failure | None:
        """Start it for the first time; None when it serves. It is not tried again."""
        try:
            worker = Worker(self.program, self._listener, self._log)
        except ChildFailed as error:
            return Failure("exited", "", error.cause)
        failure = worker.wait_ready(lambda: cancelled() or self._ending.is_set())
        if failure is None:
            self.adopt(worker)
        return failure

    def adopt(self, worker: Worker | None) -> None:
        """Watch over a worker that serves; without one, start one and go on trying."""
        self._worker = worker
        self.state = "running" if worker else "starting"
        self._watch = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._watch.start()

    def turn_away(self, seconds: float) -> None:
        """Let it take no more connections, and see to it that it is not started again."""
        self._ending.set()
        with self._lock:
            worker = self._worker
        if worker is not None:
            worker.turn_away(seconds)

    def drain(self, seconds: float) -> None:
        self._end(lambda worker: worker.drain(seconds))

    def stop(self, seconds: float) -> None:
        self._end(lambda worker: worker.stop(seconds))

    def _end(self, how: Callable[[Worker], None]) -> None:
        self._ending.set()
        with self._lock:
            worker = self._worker
        if worker is not None:
            how(worker)
        if self._watch is not None:
            self._watch.join()
        with self._lock:
            if self._worker is not None:
                self._worker.close()
                self._worker = None
        self.state = "stopped"

    def _keep(self) -> None:
        failures = 0
        while not self._ending.is_set():
            if self._worker is not None:
                began = time.monotonic()
                code = self._worker.child.wait()
                if self._ending.is_set():
                    return
                failures = 0 if time.monotonic() - began > STABLE_SECONDS else failures
                self._note(
                    failures := failures + 1,
                    f"its process ended with {exit_words(code)}",
                    self._worker.child.tail(TAIL),
                )
                self._worker.child.stop(0.0)  # what it may have left in its group
                self._worker.close()
                self._worker = None
            self._ending.wait(PAUSES[min(max(failures - 1, 0), len(PAUSES) - 1)])
            failure = self._again(failures > 0)
            if failure is not None:
                self._note(failures := failures + 1, failure.message, failure.tail)

    def _again(self, again: bool) -> Failure | None:
        with self._lock:
            if self._ending.is_set():
                return None
            self.restarts += again
            try:
                worker = Worker(self.program, self._listener, self._log)
            except ChildFailed as error:
                return Failure("exited", "", error.cause)
        failure = worker.wait_ready(self._ending.is_set)
        if failure is None:
            with self._lock:
                self._worker = worker
            self.state, self.detail = "running", ""
            if self._ending.is_set():
                worker.stop(0.0)
        return failure

    def _note(self, failures: int, reason: str, tail: tuple[str, ...]) -> None:
        self.state = "crash loop" if failures >= LOOP else "restarting"
        self.detail = "\n".join([f"{reason}; failure {failures} in a row", *tail[-5:]])


def _argv(program: Program, socket_fd: int, ready_fd: int) -> list[str]:
    return [
        str(program.python), "-P", "-m", "thinkube.serving",
        "--bundle", str(program.bundle), "--socket-fd", str(socket_fd), "--ready-fd", str(ready_fd),
        "--name", program.name, "--release", str(program.version),
    ]  # fmt: skip
