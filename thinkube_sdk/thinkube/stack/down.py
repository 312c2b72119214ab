"""Stop the stack."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

from thinkube.model.errors import StackError
from thinkube.services import state
from thinkube.services.state import State
from thinkube.targets.rollout import stop_all

_SECONDS = 30.0


def down(progress: Callable[[str], None] = lambda _: None) -> None:
    """Stop the services on this machine and the deployed agents.

    Data, ports, credentials and deployments stay for the next start.

    Calling it when nothing runs is harmless.

    Args:
        progress: gets a line for each step.

    Raises:
        StackError: the supervisor can't be stopped.
    """
    stop_all(progress)
    current = state.read()
    if not state.supervised():
        if current is not None and current.supervisor:
            state.write(_stopped(current))
        progress("The stack is not running.")
        return
    running = [service for service in current.services.values() if service.pid] if current else []
    progress(f"Stopping {', '.join(service.title for service in running) or 'the stack'}")
    _end_supervisor(current)
    _wait(lambda: not any(_runs(service.pid) for service in running), "its services still run")
    progress("The stack is down.")


def _end_supervisor(current: State | None) -> None:
    pid = current.supervisor if current else 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)
        with contextlib.suppress(StackError):
            _wait(lambda: not state.supervised(), "")
            break
    else:
        raise StackError(
            f"The stack's supervisor (process {pid}) does not end.", f"End process {pid} by hand."
        )
    after = state.read()
    if after is not None and after.supervisor:
        state.write(_stopped(after))


def _wait(done: Callable[[], bool], trouble: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise StackError(
                f"The stack did not end in {_SECONDS:.0f} s: {trouble}.", "See `thinkube status`."
            )
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number belongs to someone else's process by now
    return True


def _stopped(current: State) -> State:
    services = {
        name: replace(service, stage="stopped", detail="", pid=0)
        for name, service in current.services.items()
    }
    return State(0, MappingProxyType(services))
