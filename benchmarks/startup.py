"""What `import thinkube` and `thinkube --help` cost beside `python -c pass`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import thinkube": [sys.executable, "-c", "import thinkube"],
    "thinkube --help": [sys.executable, "-m", "thinkube", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock time of one process from start to exit."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print medians of interleaved rounds, in milliseconds, and the ratio to doing nothing."""
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    nothing = statistics.median(times["python -c pass"])
    for name, values in times.items():
        median = statistics.median(values)
        more = (median - nothing) * 1e3
        print(f"{name:18} {median * 1e3:7.1f} ms  {more:+7.1f} ms  {median / nothing:5.1f} x")


if __name__ == "__main__":
    main()
