"""What the stack runs and what that costs: memory, restarts, programs left out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from thinkube.services import state
from thinkube.services.state import LocalService
from thinkube.stack.elsewhere import elsewhere
from thinkube.stack.programs import PROGRAMS
from thinkube.stack.wanted import read_wanted


@dataclass(frozen=True)
class Program:
    """One program of the stack.

    Attributes:
        memory: bytes in main memory that its processes hold, pages shared between them counted for each.
        restarts: how often it was started again after it died.
        ended: how it died the last time, with `ended_at` in seconds since 1970.
    """

    name: str
    title: str
    stage: str
    url: str
    pid: int
    memory: int
    restarts: int
    ended: str
    ended_at: float


@dataclass(frozen=True)
class Summary:
    """The stack at one moment.

    Attributes:
        programs: those that should run.
        supervisor: bytes that the supervisor and its guard hold.
        elsewhere: programs left out, with the environment variable that says where theirs runs.
    """

    programs: tuple[Program, ...]
    supervisor: int
    elsewhere: Mapping[str, str]

    @property
    def memory(self) -> int:
        """Bytes in main memory, everything together."""
        return self.supervisor + sum(program.memory for program in self.programs)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "memory": self.memory,
            "programs": [asdict(program) for program in self.programs],
            "elsewhere": dict(self.elsewhere),
        }

    def sentences(self) -> list[str]:
        """For people: one line for the whole, one for each program with something to say."""
        lines = [f"Local stack: {len(self.programs)} running, {self.memory / 1e9:.2f} GB of memory"]
        for program in self.programs:
            if program.restarts:
                times = "once" if program.restarts == 1 else f"{program.restarts} times"
                moment = time.strftime("%H:%M:%S", time.localtime(program.ended_at))
                lines.append(
                    f"{program.title} died and was started again {times}, the last time at {moment} "
                    f"({program.ended}): thinkube service logs {program.name}"
                )
            if program.stage not in ("ready", "stopped"):
                lines.append(f"{program.title} is {program.stage}: thinkube service logs {program.name}")
        return lines + [
            f"{PROGRAMS[name].title} is not part of the stack: {variable} says where it runs"
            for name, variable in self.elsewhere.items()
        ]


def summary() -> Summary | None:
    """The stack as it is now; None when it does not run."""
    current = state.read()
    if current is None or not state.supervised():
        return None
    wanted = [current.services[name] for name in read_wanted() if name in current.services]
    return Summary(
        tuple(_program(service) for service in wanted),
        max(0, _memory(current.supervisor) - sum(_memory(service.pid) for service in wanted)),
        {name: variable for name, variable in elsewhere().items() if name not in read_wanted()},
    )


def _program(service: LocalService) -> Program:
    return Program(
        service.name,
        service.title,
        service.stage,
        service.url,
        service.pid,
        _memory(service.pid),
        service.restarts,
        service.ended,
        service.ended_at,
    )


def _memory(pid: int) -> int:
    """What a process and those it started hold."""
    import psutil  # type: ignore[import-untyped]

    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid) if pid else None
        for each in [process, *process.children(recursive=True)] if process else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
    return total
