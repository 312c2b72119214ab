"""One service of the stack: its log, and its restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

from thinkube.model.errors import StackError
from thinkube.services import state
from thinkube.services.state import LocalService
from thinkube.stack.programs import named
from thinkube.stack.wanted import ask_restart, read_wanted
from thinkube.targets.lines import file_lines

# A program has three minutes to start; what is prepared before may take longer.
_SECONDS = 240.0


def logs(name: str, *, follow: bool = False) -> Iterator[str]:
    """The lines a service has logged, and with `follow` those to come.

    The supervisor's own lines in it, about restarts, begin with `[thinkube]`.

    Args:
        name: of a program (`mlflow`, `gateway`, …) or of the service it stands for (`llm`).

    Raises:
        StackError: the stack has no such service, or never started it.

    Example:
        for line in logs("mlflow", follow=True): print(line)
    """
    title, path = named(name).title, state.directory() / "logs" / f"{named(name).name}.log"
    if not path.exists():
        raise StackError(
            f"{title} has logged nothing: it was never started here ({path} is not there).",
            f"Start it with `thinkube up --only {name}`.",
        )
    return file_lines(path, follow)


def restart(name: str, progress: Callable[[str], None] = lambda _: None) -> LocalService:
    """End a service and start it again, at the same URL; return when it can be used.

    Raises:
        StackError: the stack has no such service, does not run it, or it does not start again.

    Example:
        restart("mlflow", progress=print)
    """
    program = named(name)
    current = state.read()
    if current is None or not state.supervised() or program.name not in read_wanted():
        raise StackError(f"The stack does not run {program.title}.", f"Start it: thinkube up --only {name}")
    before = current.services[program.name]
    progress(f"{program.title}: restarting")
    ask_restart(program.name)
    os.kill(current.supervisor, signal.SIGHUP)
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        now = _entry(program.name)
        if now.stage == "ready" and now.pid not in (0, before.pid):
            progress(f"{program.title}: ready at {now.url}")
            return now
        if now.stage == "failed" and now.restarts > before.restarts:
            raise StackError(f"{program.title} does not start: {now.detail}", f"Look into {now.log}.")
        time.sleep(0.05)
    raise StackError(
        f"{program.title} was not ready {_SECONDS:.0f} s after its restart.", f"Look into {before.log}."
    )


def _entry(name: str) -> LocalService:
    current = state.read()
    if current is None or not state.supervised():
        raise StackError("The stack was stopped meanwhile.", "Start it with `thinkube up`.")
    return current.services[name]
