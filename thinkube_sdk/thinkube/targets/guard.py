"""Ends process groups when the process that started them is gone.

Run as a script by `thinkube.targets.child`, one for each process that has children: it reads `+PID` and
`-PID` lines from standard input and, when that closes because the parent exited or was killed, ends
every group still listed. Unlike `PR_SET_PDEATHSIG` it works on macOS, reaches grandchildren, and does
not take the end of the starting thread for the end of the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GRACE = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        deadline = time.monotonic() + GRACE
        while number == signal.SIGTERM and any(map(_lives, groups)) and time.monotonic() < deadline:
            time.sleep(0.05)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
