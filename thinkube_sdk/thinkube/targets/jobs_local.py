"""Jobs of this machine: each a folder with a keeper beside it, which outlives the notebook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinkube.model.errors import TrainingError
from thinkube.targets import jobs_keeper
from thinkube.targets.jobs_keeper import alive, job_folders
from thinkube.training.state import RunState, metrics, read, write_json

_PAUSE = 0.2
_START = 20.0


@dataclass(frozen=True)
class LocalPlace:
    """One job of this machine.

    Attributes:
        folder: what it runs, its log, checkpoints and results.
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def state(self) -> RunState:
        return read(self.folder / "run")

    def alive(self) -> bool:
        return alive(self.folder)

    def metrics(self) -> list[dict[str, float]]:
        return metrics(self.folder / "run")

    def document(self, name: str) -> dict[str, Any] | None:
        path = self.folder / "run" / name
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "written": path.stat().st_mtime}

    def number_of(self, name: str) -> int:
        """The number of this job's model among those of its name that no registry counts."""
        results = (folder / "run" / "result.json" for folder in job_folders(self.folder.parent))
        mine = (self.folder / "run" / "result.json").stat().st_mtime_ns
        return 1 + sum(
            bool(json.loads(path.read_text(encoding="utf-8"))["name"] == name)
            for path in results
            if path.exists() and path.stat().st_mtime_ns < mine
        )

    def lines(self, follow: bool) -> Iterator[str]:
        path = self.folder / "log"
        position = 0
        while True:
            ended = not alive(self.folder)
            if path.exists():
                with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
                    file.seek(position)
                    while (line := file.readline()).endswith("\n") or (line and ended):
                        position = file.tell()
                        yield line.rstrip("\n")
            if ended or not follow:
                return
            time.sleep(_PAUSE)

    def ask_to_stop(self) -> None:
        os.kill(json.loads((self.folder / "job.json").read_text())["keeper"], signal.SIGTERM)

    def kill(self) -> None:
        # Its guard ends the work's processes with it.
        os.kill(json.loads((self.folder / "job.json").read_text())["keeper"], signal.SIGKILL)

    def resume(self) -> None:
        start(self.folder)

    def described(self) -> dict[str, Any]:
        return {"on": "local", "folder": str(self.folder)}


def new_folder(jobs: Path, name: str) -> Path:
    """A folder for one more job of a name."""
    jobs.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = jobs / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def start(folder: Path) -> None:
    """Start a job's keeper in a session of its own, and return when it lives.

    Raises:
        TrainingError: it did not start.
    """
    (folder / "run").mkdir(exist_ok=True)
    state = folder / "run" / "state.json"
    before = state.stat().st_mtime_ns if state.exists() else 0
    with (folder / "log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", jobs_keeper.__name__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    write_json(folder / "job.json", {"format": 1, "queued": time.time(), "keeper": keeper.pid})
    deadline = time.monotonic() + _START
    while not (state.exists() and state.stat().st_mtime_ns != before):
        if keeper.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join((folder / "log").read_text(errors="replace").splitlines()[-5:])
            raise TrainingError(
                f"The job's keeper did not start:\n{tail}", "See the log in the job's folder."
            )
        time.sleep(0.02)
    # Otherwise Python warns that the process is still there when this object goes.
    _keepers.append(keeper)


_keepers: list[subprocess.Popen[bytes]] = []
