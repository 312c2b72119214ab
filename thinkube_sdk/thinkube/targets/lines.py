"""Log lines: read as the file grows; for people, JSON as a short sentence, an error with its traceback."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SHOWN = ("time", "level", "message", "trace", "traceback", "logger")


def readable(line: str) -> str:
    """One logged line as a person reads it; a line that isn't ours stays as it is.

    Example:
        >>> readable('{"time": "2026-01-02T03:04:05.678Z", "level": "info", "message": "request"}')
        '03:04:05.678 request'
    """
    entry = parsed(line)
    if entry is None:
        return line
    parts = [
        entry["time"][11:23],
        entry["message"] if entry["level"] == "info" else f"{entry['level']}: {entry['message']}",
    ]
    parts += [f"{key}={value}" for key, value in entry.items() if key not in _SHOWN]
    if "trace" in entry:
        parts.append(f"trace={entry['trace']}")
    text = " ".join(parts)
    return f"{text}\n{entry['traceback'].rstrip()}" if "traceback" in entry else text


def parsed(line: str) -> Mapping[str, Any] | None:
    """The entry that the runtime logged on a line, or None for what the agent printed."""
    if not line.startswith('{"time": '):
        return None
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    return entry if {"time", "level", "message"} <= entry.keys() else None


def file_lines(path: Path, follow: bool) -> Iterator[str]:
    """The lines of a log, and with `follow` those to come, until its folder is gone."""
    position = 0
    rest = b""
    while True:
        if path.exists():
            with path.open("rb") as file:
                # The log was emptied, or the deployment is a new one of the same name.
                file.seek(position if position <= file.seek(0, os.SEEK_END) else 0)
                while piece := file.read(65536):
                    *whole, rest = (rest + piece).split(b"\n")
                    yield from (line.decode(errors="replace") for line in whole)
                position = file.tell()
        if not follow:
            if rest:
                yield rest.decode(errors="replace")
            return
        if not path.parent.exists():
            return
        time.sleep(0.2)
