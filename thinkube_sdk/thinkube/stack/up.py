"""Start the stack and wait until it can be used."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from thinkube.model.errors import StackError
from thinkube.services import state
from thinkube.services.state import LocalService, State
from thinkube.stack.elsewhere import elsewhere
from thinkube.stack.lab import choose_folder
from thinkube.stack.programs import PROGRAMS, Program, choose
from thinkube.stack.wanted import read_wanted, write_wanted
from thinkube.targets.child import Child, exit_words
from thinkube.targets.rollout import resume

Progress = Callable[[str], None]

_LOG = "supervisor.log"


def up(
    only: Sequence[str] | None = None,
    progress: Progress = lambda _: None,
    *,
    detach: bool = False,
    lab: Path | None = None,
) -> State:
    """Start the services on this machine; return when all of them can be used.

    Calling it again is harmless: what runs goes on, what is missing is started. Without a choice, services
    that an environment variable places elsewhere are left out, and deployed agents that `down` had stopped
    are started too.

    Args:
        only: services to start (`mlflow`, `nats`, …), with what they need. All without a choice.
        detach: return as soon as the services are being started.
        lab: start JupyterLab too, showing this folder.
        progress: gets a line whenever a service gets further.

    Raises:
        StackError: a service can't start. Those that can go on running.

    Example:
        up(only=["mlflow"], progress=print)
    """
    names = tuple(program.name for program in _chosen(only, progress))
    if lab is not None:
        choose_folder(lab)
        names = (*names, "lab")
    running = state.supervised()
    before = read_wanted() if running else ()
    write_wanted(tuple(dict.fromkeys((*before, *names))))
    current = _live_state() if running else None
    supervisor = None if running else _start_supervisor()
    if current is not None:
        os.kill(current.supervisor, signal.SIGHUP)
    try:
        started = _wait(names, progress, supervisor, current, detach)
        if not only:
            resume(progress)
        return started
    except KeyboardInterrupt:
        if supervisor is not None:
            supervisor.stop()
        raise


def _chosen(only: Sequence[str] | None, progress: Progress) -> list[Program]:
    if only:
        return choose(list(only))
    out = elsewhere()
    for name, variable in out.items():
        progress(f"{PROGRAMS[name].title}: left out, {variable} says that it runs elsewhere")
    return [program for program in choose(None) if program.name not in out]


def _start_supervisor() -> Child:
    folder = state.directory()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Child(
        [sys.executable, "-P", "-m", "thinkube.stack.supervisor"],
        log=folder / "logs" / _LOG,
        cwd=folder,
        bound=False,
    )


def _wait(
    names: tuple[str, ...],
    progress: Progress,
    supervisor: Child | None,
    before: State | None,
    detach: bool,
) -> State:
    told: dict[str, tuple[str, str]] = {}
    began = time.monotonic()
    while True:
        current = _live_state()
        if current is not None:
            chosen = [current.services[name] for name in names]
            for service in chosen:
                _tell(service, told, progress, time.monotonic() - began)
            if failed := [service for service in chosen if _failed(service, before)]:
                raise StackError(
                    "\n".join(f"{service.title} does not start: {service.detail}" for service in failed),
                    f"Look into {', '.join(service.log or 'its log' for service in failed)}; "
                    "then `thinkube down` and `thinkube up`.",
                )
            if detach or all(service.stage == "ready" for service in chosen):
                return current
        elif supervisor is not None and not supervisor.alive and not state.supervised():
            raise StackError(
                f"The stack's supervisor ended with {exit_words(supervisor.returncode)}:\n"
                + "\n".join(supervisor.tail()),
                f"Its log is {supervisor.log}.",
            )
        time.sleep(0.05)


def _failed(service: LocalService, before: State | None) -> bool:
    """Whether it failed since we asked for it; what failed earlier is being tried again."""
    earlier = before.services[service.name].restarts if before else -1
    return service.stage == "failed" and service.restarts > earlier


def _live_state() -> State | None:
    """The state as the supervisor that runs now has written it."""
    if not state.supervised():
        return None
    current = state.read()
    if current is None or not current.supervisor:
        return None
    try:
        os.kill(current.supervisor, 0)
    except ProcessLookupError:
        return None  # left by a supervisor that was killed; ours has not written yet
    return current


def _tell(
    service: LocalService, told: dict[str, tuple[str, str]], progress: Progress, seconds: float
) -> None:
    now = service.stage, service.detail
    if told.get(service.name) == now or service.stage in ("waiting", "stopped"):
        return
    told[service.name] = now
    if service.stage == "ready":
        progress(f"{service.title}: ready at {service.url} ({seconds:.1f} s)")
    elif service.stage in ("preparing", "restarting") and service.detail:
        progress(f"{service.title}: {service.stage}: {service.detail}")
    elif service.stage == "starting":
        progress(f"{service.title}: starting")
