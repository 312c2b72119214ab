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
from thinkube.targets.process.unavailable import turn_away

PAUSES = (0.0, 0.5, 2.0, 5.0, 15.0, 30.0)
LOOP = 3  # failures in a row that make a crash loop
STABLE_SECONDS = 60.0
TAIL = 20


@dataclass(frozen=True)
class Program:
    """How a release's process is started."""

    name: str
    bundle: Path
    python: Path
    env: Mapping[str, str]
    timeout: float


class Worker:
    """One process: it loads the agent, waits for the word, then serves on the deployment's socket."""

    def __init__(self, program: Program, listener: socket.socket, log: Path) -> None:
        self._program = program
        self._limit = time.monotonic() + program.timeout
        self._deadline = float("inf")
        self._unread = b""
        self.notes: tuple[str, ...] = ()
        self._ready, ready = os.pipe()
        go, self._go = os.pipe()
        inherited = (listener.fileno(), ready, go)
        try:
            self.child = Child(
                _argv(program, *inherited), program.env, log, cwd=program.bundle, pass_fds=inherited
            )
        except ChildFailed:
            self.close()
            raise
        finally:
            os.close(ready)
            os.close(go)

    def loaded(self, cancelled: Callable[[], bool]) -> str | Failure:
        """Wait until it has imported the agent; the agent's kind. A process that failed is ended."""
        report = self._report(cancelled)
        if isinstance(report, Failure):
            return report
        self.notes = tuple(report.get("notes", ()))
        return str(report["kind"])

    def serve(self, version: int, cancelled: Callable[[], bool]) -> Failure | None:
        """Let it take requests as a release; None when it does. A process that failed is ended."""
        with contextlib.suppress(BrokenPipeError):  # then its end of the other pipe is closed too
            os.write(self._go, b"%d\n" % version)
        report = self._report(cancelled)
        return report if isinstance(report, Failure) else None

    def _report(self, cancelled: Callable[[], bool]) -> Mapping[str, Any] | Failure:
        """What it says next on its pipe."""
        while b"\n" not in self._unread:
            if cancelled():
                return self._failed("cancelled", "", "the rollout was interrupted")
            if time.monotonic() > self._limit:
                return self._failed("timeout", "", f"it was not ready after {self._program.timeout:g} s")
            if select.select([self._ready], [], [], 0.1)[0]:
                piece = os.read(self._ready, 65536)
                if not piece:
                    return self._failed("exited", "", "")
                self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if report["ok"]:
            return report
        return self._failed("raised", report["error"], report["message"], tuple(report["frames"]))

    def _failed(
        self, how: str, error: str, message: str, frames: tuple[Mapping[str, Any], ...] = ()
    ) -> Failure:
        code = self.child.stop(0.0 if how == "timeout" else 5.0)
        self.close()
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
        """Let go of its pipes, when it has ended."""
        os.close(self._ready)
        os.close(self._go)


class Keeper:
    """Keeps a program running until it is drained or stopped.

    Args:
        covered: whether another process answers on the same socket. If not, a crash loop's pauses are
            answered from here, so that no caller waits for nothing.
    """

    def __init__(
        self,
        program: Program,
        listener: socket.socket,
        log: Path,
        covered: Callable[[], bool] = lambda: False,
    ) -> None:
        self.program = program
        self._covered = covered
        self._listener = listener
        self._log = log
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._watch: threading.Thread | None = None
        self.version = 0
        self.notes: tuple[str, ...] = ()
        self.state = "starting"
        self.restarts = 0
        self.detail = ""

    @property
    def pid(self) -> int | None:
        worker = self._worker
        return worker.child.pid if worker is not None and worker.child.alive else None

    def load(self, cancelled: Callable[[], bool]) -> str | Failure:
        """Start it and let it import the agent; the agent's kind. It is not tried again."""
        try:
            worker = Worker(self.program, self._listener, self._log)
        except ChildFailed as error:
            return Failure("exited", "", error.cause)
        loaded = worker.loaded(cancelled)
        if not isinstance(loaded, Failure):
            self._worker = worker
            self.notes = worker.notes
        return loaded

    def serve(self, version: int, cancelled: Callable[[], bool]) -> Failure | None:
        """Let what was loaded take requests, and from then on watch over it; None when it serves."""
        assert self._worker is not None
        self.version = version
        failure = self._worker.serve(version, cancelled)
        if failure is None:
            self._keep_running("running")
        else:
            self._worker = None
        return failure

    def keep_trying(self, version: int) -> None:
        """Start it and serve, however often that takes."""
        self.version = version
        self._keep_running("starting")

    def _keep_running(self, state: str) -> None:
        self.state = state
        self._watch = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._watch.start()

    def turn_away(self, seconds: float) -> None:
        """Let it take no more connections, and see to it that it is not started again."""
        self._ending.set()
        with self._lock:
            worker = self._worker
        if worker is not None:
            worker.turn_away(seconds)
        elif self._watch is not None:
            self._watch.join(seconds)  # it may be answering for a worker that keeps crashing

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
            pause = PAUSES[min(max(failures - 1, 0), len(PAUSES) - 1)]
            if failures < LOOP or self._covered():
                self._ending.wait(pause)
            else:
                turn_away(self._listener, self.program.name, pause, self._ending)
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
        loaded = worker.loaded(self._ending.is_set)
        failure = loaded if isinstance(loaded, Failure) else worker.serve(self.version, self._ending.is_set)
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


def _argv(program: Program, socket_fd: int, ready_fd: int, go_fd: int) -> list[str]:
    return [
        str(program.python), "-P", "-m", "thinkube.serving",
        "--bundle", str(program.bundle), "--name", program.name,
        "--socket-fd", str(socket_fd), "--ready-fd", str(ready_fd), "--go-fd", str(go_fd),
    ]  # fmt: skip
