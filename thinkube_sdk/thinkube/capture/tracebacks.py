"""At which line of a cell an exception was raised, told from IPython's traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ARROW = re.compile(r"^-+>\s*(\d+)(.*)", re.M)
_TIMED = re.compile(r"<timed exec>:(\d+)|<timed exec>.*line (\d+)")


def stopped_line(frames: Iterable[str], text: str) -> int | None:
    """The 1-based line of `text` that was running when the exception came, if the traceback shows it."""
    lines = [line.strip() for line in text.split("\n")]
    magics = sum(line.startswith("%%") for line in lines[:3])
    for raw in frames:
        frame = _ANSI.sub("", raw)
        if timed := _TIMED.search(frame):
            return min(int(timed[1] or timed[2]) + magics, len(lines))
        for match in _ARROW.finditer(frame):
            shown = match[2].strip()
            for number in range(int(match[1]), int(match[1]) + magics + 1):
                if shown and number <= len(lines) and lines[number - 1] == shown:
                    return number
    return None
