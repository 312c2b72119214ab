"""The process beside a local job: waits for its turn, runs the work, says how it ended.

It has a session of its own, so that it outlives the notebook. While it lives it holds the job's lock;
a job whose lock is free is over, whatever its state says.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from thinkube.model.errors import ThinkubeError
from thinkube.model.settings import JOBS_AT_ONCE, whole_number
from thinkube.targets.child import Child, exit_words
from thinkube.targets.jobs_work import Work, work_of
from thinkube.training.machine import machine
from thinkube.training.state import ENDED, Reporter
from thinkube.training.state import read as read_state

LOCK = "keeper.lock"
_PAUSE = 0.5
_CPU = "cpu"


class _Keeper:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: Child | None = None
        self._stopped = False
        self._reporter = Reporter(folder / "run")
        signal.signal(signal.SIGTERM, self._stop)

    def keep(self) -> None:
        """Run the job to its end."""
        reporter = self._reporter
        with ExitStack() as held:
            own = held.enter_context((self._folder / LOCK).open("w"))
            if not _take(own):
                return
            try:
                reporter.say(phase="environment", note="", error=None)
                work = work_of(self._folder)
                argv, variables = work.prepare(reporter.note)
                slot = self._wait_for_turn(work, held)
                if slot is not None:
                    self._run(argv, variables, slot)
            except ThinkubeError as error:
                told = {"type": type(error).__name__, "cause": error.cause, "fix": error.fix}
                reporter.say(phase="failed", note=error.cause, error=told)
            if self._stopped and read_state(self._folder / "run").phase not in ENDED:
                reporter.say(phase="stopped", note="it can be resumed")

    def _wait_for_turn(self, work: Work, held: ExitStack) -> str | None:
        """Take a GPU, or a place of a machine without; the job that came first takes it first."""
        self._reporter.say(phase="queued", note="waiting for its turn")
        gpus = len(machine().gpus) if work.gpus != 0 else 0
        slots = [str(number) for number in range(gpus)] or [
            f"{_CPU}{number}" for number in range(whole_number(JOBS_AT_ONCE))
        ]
        places = self._folder.parent / ".slots"
        places.mkdir(exist_ok=True)
        files = {slot: held.enter_context((places / f"{slot}.lock").open("w")) for slot in slots}
        while not self._stopped:
            if not self._others_before():
                for slot, file in files.items():
                    if _take(file):
                        return slot
            time.sleep(_PAUSE)
        return None

    def _others_before(self) -> bool:
        mine = _queued_at(self._folder)
        return any(
            _queued_at(folder) < mine and alive(folder) and read_state(folder / "run").phase == "queued"
            for folder in job_folders(self._folder.parent)
            if folder != self._folder
        )

    def _run(self, argv: list[str], variables: dict[str, str], slot: str) -> None:
        variables = {**variables, "PYTHONUNBUFFERED": "1"}
        if slot.startswith(_CPU):
            variables["CUDA_VISIBLE_DEVICES"] = ""
        else:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            variables["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(slot)] if visible else slot
        self._child = Child(argv, variables, self._folder / "log", cwd=self._folder)
        if self._stopped:
            self._child.signal(signal.SIGTERM)
        code = self._child.wait()
        if read_state(self._folder / "run").phase in ENDED:
            return
        why = f"Its process ended with {exit_words(code)}"
        if code == -signal.SIGKILL:
            why += "; the system does that when memory runs out"
        last = "\n".join(self._child.tail(5))
        error = {
            "type": "JobFailed",
            "cause": f"{why}.\n{last}",
            "fix": "See job.logs(); job.resume() goes on.",
        }
        self._reporter.say(phase="failed", note=why, error=error)

    def _stop(self, _number: int, _frame: object) -> None:
        self._stopped = True
        if self._child is not None:
            self._child.signal(signal.SIGTERM)


def alive(folder: Path) -> bool:
    """Whether a job's keeper lives."""
    try:
        with (folder / LOCK).open("r+") as file:
            return not _take(file)
    except FileNotFoundError:
        return False


def job_folders(jobs: Path) -> list[Path]:
    """The folders of all jobs, oldest first."""
    return sorted((path.parent for path in jobs.glob("*/job.json")), key=_queued_at)


def _queued_at(folder: Path) -> tuple[float, str]:
    return float(json.loads((folder / "job.json").read_text())["queued"]), folder.name


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    _Keeper(Path(sys.argv[1])).keep()
