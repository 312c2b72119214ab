"""From an imported entry object to a runtime that is ready to serve."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
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
    UPLOAD_SECONDS,
    Setting,
)
from thinkube.serving.access import Access, access
from thinkube.serving.agent import Agent, Unsupported, adapt
from thinkube.serving.runtime import Limits, Runtime
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
        return Runtime(self.agent, self.name, release, traces, self.limits, self.access, self.title)


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
    return Candidate(agent, name, title.partition("\n\n")[0], limits(), backend(), who)


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
