"""From an imported entry object to a runtime that is ready to serve."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.model.endpoint import Endpoint
from thinkube.model.entry import Entry
from thinkube.model.errors import ConfigurationError
from thinkube.model.settings import (
    API_KEYS,
    AUTH,
    REQUEST_BYTES,
    REQUEST_RUNS,
    REQUEST_SECONDS,
    STATE,
    THREADS_BUSY,
    THREADS_URL,
    UPLOAD_SECONDS,
    Setting,
    home,
)
from thinkube.serving.access import Access, access
from thinkube.serving.agent import Agent, Unsupported, adapt
from thinkube.serving.runtime import Limits, Runtime
from thinkube.serving.thread_store import Place, Threads
from thinkube.serving.thread_turns import STRATEGIES
from thinkube.serving.traces import backend, connect


class StartFailed(Exception):
    """The entry object was imported and can't be served. `report` is the JSON form of why."""

    def __init__(self, error: str, message: str) -> None:
        self.report: dict[str, Any] = {"ok": False, "error": error, "message": message, "frames": []}
        super().__init__(f"{error}: {message}")


@dataclass(frozen=True)
class Candidate:
    """A loaded agent that lacks only the number of its release."""

    agent: Agent
    name: str
    title: str
    limits: Limits
    endpoint: Endpoint | None
    access: Access
    threads: Threads | None = None
    notes: tuple[str, ...] = ()

    def admit(self, host: str) -> None:
        """Refuse an address where strangers could call it, unless someone said that they may.

        Raises:
            StartFailed: there is no key, and the address is not this machine's own.
        """
        if self.access.open_beyond(host):
            raise StartFailed(
                "ConfigurationError",
                f"{self.name} has no keys, and at {host} others than this machine can call it. Set "
                f"{API_KEYS.variable} to a key of at least 16 characters, or {AUTH.variable}=off if "
                "everyone may call",
            )

    def runtime(self, release: str) -> Runtime:
        """Everything its requests share."""
        steps = self.agent.kind in ("langgraph", "langgraph-builder", "runnable")
        traces = connect(self.endpoint, self.name, release, handler=steps)
        return Runtime(
            self.agent, self.name, release, traces, self.limits, self.access, self.title, self.threads
        )


def prepare(entry: Entry, name: str) -> Candidate:
    """Adapt the object, read the limits, find where traces go.

    Raises:
        StartFailed: it is not servable, or a limit is malformed.
    """
    try:
        agent = adapt(entry.subject)
    except Unsupported as error:
        raise StartFailed("Unsupported", str(error)) from error
    title = (inspect.getdoc(entry.subject) or "") if inspect.isroutine(entry.subject) else ""
    try:
        who = access(name)
    except ConfigurationError as error:
        raise StartFailed("ConfigurationError", str(error)) from error
    threads, notes = _threads(agent, place(name))
    return Candidate(agent, name, title.partition("\n\n")[0], limits(), backend(), who, threads, notes)


def place(name: str) -> Place:
    """Where a deployment's threads are kept."""
    folder = Path(os.environ.get(STATE.variable) or home() / "deployments" / name / "state")
    if_busy = os.environ.get(THREADS_BUSY.variable) or THREADS_BUSY.default
    if if_busy not in STRATEGIES:
        message = f"{THREADS_BUSY.variable}={if_busy!r} is not one of {', '.join(STRATEGIES)}"
        raise StartFailed("ConfigurationError", message)
    return Place(name, folder, os.environ.get(THREADS_URL.variable) or None, if_busy)


def _threads(agent: Agent, place: Place) -> tuple[Threads | None, tuple[str, ...]]:
    """A graph's threads, and what is to be said about them."""
    if agent.kind not in ("langgraph", "langgraph-builder"):
        return None, ()
    from thinkube.serving.graphs import GraphAgent

    assert isinstance(agent, GraphAgent)
    if agent.memory == "off":
        return None, ()
    if agent.memory == "replaced" and place.missing:
        note = f"threads are kept in memory and lost with the process: {place.missing} is not installed"
        return Threads(place, own=True), (note,)
    threads = Threads(place, own=agent.memory == "own")
    if agent.memory != "own":
        agent.keep(threads)
    if agent.memory == "replaced":
        return threads, (f"the checkpointer in memory gives way to {place}: threads outlive the process",)
    return threads, ()


def limits() -> Limits:
    """The bounds on requests, from the environment where it sets them."""
    return Limits(
        body=int(_number(REQUEST_BYTES)),
        seconds=_number(REQUEST_SECONDS),
        upload_seconds=_number(UPLOAD_SECONDS),
        runs=int(_number(REQUEST_RUNS)),
    )


def _number(setting: Setting) -> float:
    text = os.environ.get(setting.variable) or setting.default
    try:
        value = float(text)
    except ValueError as error:
        raise StartFailed("ConfigurationError", f"{setting.variable}={text!r} is not a number") from error
    if not value > 0:
        raise StartFailed("ConfigurationError", f"{setting.variable}={text!r} is not above zero")
    return value
