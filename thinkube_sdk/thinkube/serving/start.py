"""From an imported entry object to a runtime that is ready to serve."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any

from thinkube.model.endpoint import Endpoint
from thinkube.model.entry import Entry
from thinkube.model.settings import REQUEST_BYTES, REQUEST_RUNS, REQUEST_SECONDS, UPLOAD_SECONDS, Setting
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

    def runtime(self, release: str) -> Runtime:
        """Everything its requests share."""
        steps = self.agent.kind in ("langgraph", "langgraph-builder", "runnable")
        traces = connect(self.endpoint, self.name, release, handler=steps)
        return Runtime(self.agent, self.name, release, traces, self.limits, title=self.title)


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
    return Candidate(agent, name, title.partition("\n\n")[0], limits(), backend())


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
