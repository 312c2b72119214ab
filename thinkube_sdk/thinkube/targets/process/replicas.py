"""Several processes of one release on one socket: the kernel hands each connection to one that is free.

Standard library only.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

from thinkube.targets.failure import Failure
from thinkube.targets.process.keeper import Keeper, Program


class Replicas:
    """Keeps `count` processes of a program running. To its supervisor it is one.

    The first is started as a single one would be, and decides whether the release is good. The others are
    started when it serves; while they import, it has all requests.
    """

    def __init__(self, program: Program, listener: socket.socket, log: Path, count: int) -> None:
        self._keepers = [
            Keeper(program, listener, log, lambda number=number: self._covered(number))  # type: ignore[misc]
            for number in range(count)
        ]

    def _covered(self, number: int) -> bool:
        """Whether one beside this one answers."""
        others = self._keepers[:number] + self._keepers[number + 1 :]
        return any(keeper.state == "running" for keeper in others)

    @property
    def _first(self) -> Keeper:
        return self._keepers[0]

    @property
    def notes(self) -> tuple[str, ...]:
        return self._first.notes

    @property
    def version(self) -> int:
        return self._first.version

    @property
    def pid(self) -> int | None:
        """The first that runs."""
        return next(iter(self.pids), None)

    @property
    def pids(self) -> list[int]:
        return [pid for keeper in self._keepers if (pid := keeper.pid) is not None]

    @property
    def state(self) -> str:
        """As long as one runs, requests are answered."""
        states = [keeper.state for keeper in self._keepers]
        return "running" if "running" in states else states[0]

    @property
    def restarts(self) -> int:
        return sum(keeper.restarts for keeper in self._keepers)

    @property
    def detail(self) -> str:
        """What is wrong with those that don't run."""
        return "\n".join(keeper.detail for keeper in self._keepers if keeper.detail)

    def load(self, cancelled: Callable[[], bool]) -> str | Failure:
        """See `Keeper.load`."""
        return self._first.load(cancelled)

    def serve(self, version: int, cancelled: Callable[[], bool]) -> Failure | None:
        """See `Keeper.serve`."""
        failure = self._first.serve(version, cancelled)
        if failure is None:
            for keeper in self._keepers[1:]:
                keeper.keep_trying(version)
        return failure

    def keep_trying(self, version: int) -> None:
        """See `Keeper.keep_trying`."""
        for keeper in self._keepers:
            keeper.keep_trying(version)

    def turn_away(self, seconds: float) -> None:
        """See `Keeper.turn_away`."""
        self._each(lambda keeper: keeper.turn_away(seconds))

    def drain(self, seconds: float) -> None:
        """See `Keeper.drain`."""
        self._each(lambda keeper: keeper.drain(seconds))

    def stop(self, seconds: float) -> None:
        """See `Keeper.stop`."""
        self._each(lambda keeper: keeper.stop(seconds))

    def _each(self, what: Callable[[Keeper], None]) -> None:
        threads = [threading.Thread(target=what, args=(keeper,)) for keeper in self._keepers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
