"""One JSON object a line on standard output: requests, errors, and what the agent logs itself."""

from __future__ import annotations

import contextvars
import json
import logging
import sys
import time
import traceback
from typing import Any

LOGGER = logging.getLogger("thinkube.serving")
trace_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("thinkube_trace_id", default=None)
caller: contextvars.ContextVar[str | None] = contextvars.ContextVar("thinkube_caller", default=None)


class JsonLines(logging.Formatter):
    """A record as one JSON object; `extra={"fields": {...}}` adds keys."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.name != LOGGER.name:
            entry["logger"] = record.name
        if (trace := trace_id.get()) is not None:
            entry["trace"] = trace
        entry.update(getattr(record, "fields", {}))
        if (who := caller.get()) is not None:
            entry["caller"] = who
        if record.exc_info and record.exc_info[0] is not None:
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure() -> None:
    """Send every logger's warnings, and our own information, to standard output as JSON lines."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(logging.INFO)


def event(
    message: str, level: int = logging.INFO, *, raised: BaseException | None = None, **fields: Any
) -> None:
    """Log one event with its own keys."""
    LOGGER.log(level, message, exc_info=raised, extra={"fields": fields})
