"""From an imported entry object to a runtime that is ready to serve."""

from __future__ import annotations

import inspect
import os
from typing import Any

from thinkube.model.settings import REQUEST_BYTES, REQUEST_RUNS, REQUEST_SECONDS, Setting
from thinkube.serving.agent import Unsupported, adapt
from thinkube.serving.entry import Entry
from thinkube.serving.runtime import Limits, Runtime
from thinkube.serving.traces import connect


class StartFailed(Exception):
    """The entry object was imported and can't be served. `report` is the JSON form of why."""

    def __init__(self, error: str, message: str) -> None:
        self.report: dict[str, Any] = {"ok": False, "error": error, "message": message, "frames": []}
        super().__init__(f"{error}: {message}")


def runtime(entry: Entry, name: str, release: str) -> Runtime:
    """Adapt the object, connect traces, read the limits.

    Raises:
        StartFailed: it is not servable, or a limit is malformed.
    """
    try:
        agent = adapt(entry.subject)
    except Unsupported as error:
        raise StartFailed("Unsupported", str(error)) from error
    steps = agent.kind in ("langgraph", "langgraph-builder", "runnable")
    traces = connect(name, release, handler=steps)
    title = (inspect.getdoc(entry.subject) or "") if inspect.isroutine(entry.subject) else ""
    return Runtime(agent, name, release, traces, limits(), title=title.partition("\n\n")[0])


def limits() -> Limits:
    """The bounds on requests, from the environment where it sets them."""
    return Limits(
        body=int(_number(REQUEST_BYTES)), seconds=_number(REQUEST_SECONDS), runs=int(_number(REQUEST_RUNS))
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
