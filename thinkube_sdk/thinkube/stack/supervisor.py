"""The stack's one long-lived process: starts the programs, starts them again when they die, stops them.

`python -m thinkube.stack.supervisor` runs until SIGTERM. SIGHUP makes it read again what is wanted,
and start those programs again for which that was asked.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

from thinkube.model.errors import ThinkubeError
from thinkube.services import state
from thinkube.services.state import LocalService, State
from thinkube.stack.command import data
from thinkube.stack.environments import python_of
from thinkube.stack.programs import PROGRAMS, Program, base_environment, installed_here, ready
from thinkube.stack.wanted import read_wanted, take_restarts
from thinkube.targets.child import Child, exit_words

_START_SECONDS = 180.0
_STOP_SECONDS = 10.0
_PAUSES = (0.2, 1.0, 3.0, 10.0, 30.0)
# Attempts until it counts as failed: few for one that never was ready, more for one that was.
_ATTEMPTS, _ATTEMPTS_AGAIN = 2, 4
# A program that was ready this long may fail anew from the shortest pause on.
_STABLE_SECONDS = 5.0
_LOG_BYTES = 20_000_000


class Board:
    """The state file, changed by one thread at a time."""

    def __init__(self, previous: State | None) -> None:
        self._lock = threading.RLock()
        self._services = dict(_fresh(previous))
        self.write()

    def write(self, supervisor: int | None = None) -> None:
        with self._lock:
            state.write(State(os.getpid() if supervisor is None else supervisor, self.services))

    @property
    def services(self) -> MappingProxyType[str, LocalService]:
        with self._lock:
            return MappingProxyType(dict(self._services))

    def __getitem__(self, name: str) -> LocalService:
        with self._lock:
            return self._services[name]

    def change(self, name: str, **changes: Any) -> None:
        with self._lock:
            changed = replace(self._services[name], **changes)
            if changed != self._services[name]:
                self._services[name] = changed
                self.write()


class Keeper(threading.Thread):
    """Keeps one program running until told to stop."""

    def __init__(self, program: Program, board: Board, stopping: threading.Event) -> None:
        super().__init__(name=program.name)
        self._program = program
        self._board = board
        self._stopping = stopping
        self._again = threading.Event()
        self._asked = threading.Event()
        self._attempts = _ATTEMPTS
        self._ready_at = math.inf

    def try_again(self) -> None:
        """Cut a pause between attempts short."""
        self._again.set()

    def restart(self) -> None:
        """End the program and start it again, because somebody asked for it."""
        self._asked.set()
        self._again.set()

    def run(self) -> None:
        name = self._program.name
        try:
            installed_here(self._program)
            python = python_of(
                self._program.requirements,
                lambda line: self._board.change(name, stage="preparing", detail=line),
            )
        except ThinkubeError as error:
            restarts = self._board[name].restarts + 1
            self._board.change(name, stage="failed", detail=str(error), restarts=restarts)
            return
        failures = 0
        while not self._stopping.is_set():
            self._board.change(name, stage="restarting" if failures else "starting", detail="")
            self._ready_at = math.inf
            self._asked.clear()
            child = self._start(python)
            reason = self._watch(child)
            self._board.change(name, pid=0, stage="restarting")
            if self._stopping.is_set():
                return
            if self._asked.is_set():
                failures, self._attempts = 0, _ATTEMPTS
                self._note("starts again because that was asked for")
                continue
            failures = 1 if time.monotonic() - self._ready_at > _STABLE_SECONDS else failures + 1
            self._board.change(
                name,
                stage="failed" if failures >= self._attempts else "restarting",
                detail=reason,
                restarts=self._board[name].restarts + 1,
                ended=exit_words(child.returncode),
                ended_at=time.time(),
            )
            self._note(f"{reason.partition(', last log lines')[0]}; restart {self._board[name].restarts}")
            self._again.wait(_PAUSES[min(failures, len(_PAUSES)) - 1])
            self._again.clear()

    def _start(self, python: Any) -> Child:
        service = self._board[self._program.name]
        command = self._program.command(python, service, self._board.services)
        log = state.directory() / "logs" / f"{service.name}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        child = Child(
            command.argv,
            env=(dict(os.environ) if command.for_user else base_environment()) | dict(command.env),
            log=log,
            ready=lambda: ready(self._program, service),
            cwd=data(service),
        )
        self._board.change(service.name, pid=child.pid, log=str(log))
        return child

    def _note(self, sentence: str) -> None:
        """Say in the program's own log what the supervisor does."""
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        with Path(self._board[self._program.name].log).open("a", encoding="utf-8") as log:
            log.write(f"[thinkube] {moment} {self._program.title} {sentence}\n")

    def _watch(self, child: Child) -> str:
        """Follow a child to its end; says why it ended."""
        name = self._program.name
        deadline = time.monotonic() + _START_SECONDS
        while child.alive and not self._interrupted and not child.is_ready():
            if time.monotonic() > deadline:
                tail = _tail(child)
                child.stop(_STOP_SECONDS)
                return f"was not ready after {_START_SECONDS:.0f} s{tail}"
            self._stopping.wait(0.1)
        if child.alive and not self._interrupted:
            self._attempts = _ATTEMPTS_AGAIN
            self._ready_at = time.monotonic()
            self._board.change(name, stage="ready", detail="")
        while child.alive and not self._interrupted:
            self._stopping.wait(0.1)
        if self._interrupted:
            child.stop(_STOP_SECONDS)
            return ""
        code = child.returncode
        child.stop(_STOP_SECONDS)  # what it may have left in its group
        return f"ended with {exit_words(code)}{_tail(child)}"

    @property
    def _interrupted(self) -> bool:
        return self._stopping.is_set() or self._asked.is_set()


def _tail(child: Child) -> str:
    lines = child.tail(8)
    return ", last log lines:\n" + "\n".join(lines) if lines else ""


def _fresh(previous: State | None) -> Iterator[tuple[str, LocalService]]:
    """Every program's entry for a new start, with the port and the secret it had before."""
    taken: set[int] = set()
    for program in PROGRAMS.values():
        old = previous.services.get(program.name) if previous else None
        before = int(old.url.rpartition(":")[2]) if old else 0
        number = _free_port(before, taken)
        taken.add(number)
        yield (
            program.name,
            LocalService(
                name=program.name,
                title=program.title,
                serves=program.serves,
                url=f"{program.scheme}://127.0.0.1:{number}",
                stage="stopped",
                secret=old.secret if old and old.secret else f"sk-{secrets.token_urlsafe(24)}",
                username=program.username,
                options=program.options,
                log=old.log if old else "",
            ),
        )


def _free_port(before: int, taken: set[int], patience: float = 3.0) -> int:
    """The port it had before if it is free, or becomes so while its last holder ends; else another."""
    deadline = time.monotonic() + patience
    while before and before not in taken:
        with contextlib.suppress(OSError), socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("127.0.0.1", before))
            return before
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    while True:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            number = int(trial.getsockname()[1])
        if number not in taken:
            return number


def supervise() -> int:
    """Run the stack until SIGTERM or SIGINT. Returns at once when another supervisor runs."""
    if state.hold() is None:
        return 0
    board = Board(state.read())
    stopping = threading.Event()
    wake = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopping.set()
        wake.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda _, __: wake.set())
    keepers: dict[str, Keeper] = {}
    while not stopping.is_set():
        wake.clear()
        again = take_restarts()
        for name in read_wanted():
            keeper = keepers.get(name)
            if keeper is None or not keeper.is_alive():
                board.change(name, stage="waiting", detail="")
                keepers[name] = Keeper(PROGRAMS[name], board, stopping)
                keepers[name].start()
            elif name in again:
                keeper.restart()
            else:
                keeper.try_again()
        wake.wait()
    for keeper in keepers.values():
        keeper.try_again()
    for keeper in keepers.values():
        keeper.join()
    for name in keepers:
        board.change(name, stage="stopped", detail="", pid=0)
    board.write(supervisor=0)
    return 0


if __name__ == "__main__":
    sys.exit(supervise())
