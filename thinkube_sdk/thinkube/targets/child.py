"""A child process: started with its output in a log, waited for until it is ready, never left behind.

Standard library only: supervisors stay small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from thinkube.model.errors import ThinkubeError


class ChildFailed(ThinkubeError):
    """A child process exited, or did not get ready in time. `tail` holds its last log lines."""

    def __init__(self, cause: str, fix: str = "", tail: tuple[str, ...] = ()) -> None:
        super().__init__(cause, fix)
        self.tail = tail


class Child:
    """One process in its own process group.

    Args:
        argv: the program and its arguments.
        env: its whole environment; None inherits ours.
        log: the file its output is appended to.
        ready: says whether it can be used; None means as soon as it runs.
        cwd: its working folder.
        pass_fds: file descriptors it inherits under the same numbers.
        bound: it ends when this process does, however this process ends.

    Raises:
        ChildFailed: the program can't be started.

    Example:
        child = Child([sys.executable, "-m", "http.server", "8000"], log=Path("web.log"), ready=answers)
        child.wait_ready(timeout=10)
        child.stop()
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        ready: Callable[[], bool] | None = None,
        *,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        bound: bool = True,
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._ready = ready
        self._bound = bound
        if bound:
            _guard.stand_by()
        with _output(log) as output:
            self._start_of_output = output.tell() if log else 0
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    env=None if env is None else dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                )
            except OSError as error:
                raise ChildFailed(
                    f"{self.argv[0]} can't be started: {error.strerror or error}.",
                    "Check that the file exists and may be executed.",
                ) from error
        if bound:
            _guard.add(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None and self._bound:
            _guard.discard(self.pid)
        return code

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def wait(self) -> int:
        """Wait for its end and return its exit status."""
        self._process.wait()
        code = self.returncode
        assert code is not None
        return code

    def is_ready(self) -> bool:
        """Whether it runs and says that it can be used."""
        return self.alive and (self._ready is None or self._ready())

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until it is ready.

        Raises:
            ChildFailed: it exited, or `timeout` seconds have passed. It is stopped then.
        """
        deadline = time.monotonic() + timeout
        pause = 0.01
        while not self.is_ready():
            if not self.alive:
                raise ChildFailed(
                    f"{self.argv[0]} exited with {exit_words(self.returncode)}.", tail=self.tail()
                )
            if time.monotonic() > deadline:
                tail = self.tail()
                self.stop()
                raise ChildFailed(f"{self.argv[0]} was not ready after {timeout:g} s.", tail=tail)
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)

    def stop(self, deadline: float = 10.0) -> int:
        """Ask its group to end, end it by force after `deadline` seconds, and return its exit status."""
        self.signal(signal.SIGTERM)
        try:
            code = self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            code = self._process.wait()
        else:
            self.signal(signal.SIGKILL)  # what the child itself left running
        if self._bound:
            _guard.discard(self.pid)
        return code

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def tail(self, lines: int = 20) -> tuple[str, ...]:
        """The last lines that this process has written to its log."""
        if self.log is None:
            return ()
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._start_of_output, size - 65536))
            return tuple(file.read().decode(errors="replace").splitlines()[-lines:])


def exit_words(code: int | None) -> str:
    """An exit status as a person says it.

    Example:
        >>> exit_words(-9)
        'SIGKILL'
        >>> exit_words(3)
        'status 3'
    """
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"status {code}"


def _output(log: Path | None) -> IO[bytes]:
    if log is None:
        return Path(os.devnull).open("wb")
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


class _Guard:
    """This process's one `thinkube.targets.guard`, started with its first bound child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[str] | None = None

    def stand_by(self) -> None:
        """Be there before the child is, so that a parent killed right after starting it leaves none."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()

    def add(self, group: int) -> None:
        with self._lock:
            self._groups.add(group)
            if self._process is not None and self._process.poll() is None:
                self._tell(f"+{group}\n")
            else:
                self._start()

    def discard(self, group: int) -> None:
        with self._lock:
            if group in self._groups:
                self._groups.discard(group)
                self._tell(f"-{group}\n")

    def _start(self) -> None:
        script = Path(__file__).with_name("guard.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._tell("".join(f"+{group}\n" for group in self._groups))

    def _tell(self, lines: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # A guard that was killed is started again with the next child.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(lines)
            self._process.stdin.flush()


_guard = _Guard()
