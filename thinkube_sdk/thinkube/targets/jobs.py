"""Jobs: fine-tuning that goes on when the notebook is gone."""

from __future__ import annotations

import html
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from thinkube.model import errors
from thinkube.model.errors import JobFailed, JobNotFound, TrainingError, UsageError
from thinkube.model.evaluation import Evaluation, Example
from thinkube.model.release import Release
from thinkube.model.settings import home
from thinkube.targets import jobs_keeper
from thinkube.targets.jobs_keeper import alive, job_folders
from thinkube.training.state import ENDED, RunState, metrics, read, write_json

_PAUSE = 0.2
_START = 20.0


@dataclass(frozen=True)
class Job:
    """One fine-tuning job. It lives on in its folder; this only looks at it.

    Attributes:
        name: of the job; the tuned model's name and a number.
        folder: recipe, rows, log, checkpoints and model.
    """

    name: str
    folder: Path

    @property
    def progress(self) -> RunState:
        """Phase, step, loss, tokens a second, time left, memory."""
        return read(self.folder / "run")

    @property
    def status(self) -> str:
        """Its phase; `interrupted` when its processes are gone before it ended."""
        state = self.progress
        over = state.phase in ENDED or alive(self.folder)
        # It may have ended between the two looks.
        return (
            state.phase
            if over
            else ("interrupted" if (now := self.progress).phase not in ENDED else now.phase)
        )

    @property
    def metrics(self) -> list[dict[str, float]]:
        """Loss, gradient, learning rate and speed of every step."""
        return metrics(self.folder / "run")

    @property
    def release(self) -> Release | None:
        """The tuned model; None before it is there."""
        path = self.folder / "run" / "result.json"
        if not path.exists():
            return None
        result = json.loads(path.read_text(encoding="utf-8"))
        there = result["registered"]
        return Release(
            name=result["name"],
            version=there["version"] if there else _count_before(self, result["name"]) + 1,
            digest=result["digest"],
            created=path.stat().st_mtime,
            source=there["source"] if there else Path(result["model"]).as_uri(),
            registry=there["registry"] if there else None,
            lineage=MappingProxyType({**result["lineage"], "job": self.name}),
        )

    @property
    def evaluation(self) -> Evaluation | None:
        """Base against tuned model on the held-out rows; None before it is there."""
        path = self.folder / "run" / "evaluation.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        examples = tuple(Example(**example) for example in found.pop("examples"))
        return Evaluation(**found, examples=examples)

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Release:
        """Wait for the tuned model, with a bar.

        Args:
            timeout: seconds; without one, until it ends.

        Raises:
            TrainingError: the job failed; the error is the one that ended it.
            JobFailed: it was stopped or interrupted.
            TimeoutError: it goes on after `timeout` seconds.
        """
        from thinkube.targets.jobs_progress import bar

        deadline = None if timeout is None else time.monotonic() + timeout
        with bar(self.name, shown=progress) as show:
            while (status := self.status) not in (*ENDED, "interrupted"):
                show(self.progress)
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"Job {self.name} is still {status} after {timeout:g} s.")
                time.sleep(_PAUSE)
            show(self.progress)
        return self._outcome(status)

    def logs(self, *, follow: bool = False) -> Iterator[str]:
        """The lines it has logged, and with `follow` those to come."""
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

    def stop(self, timeout: float = 600.0) -> None:
        """End it after the step it is in, with a checkpoint to go on from.

        Raises:
            TimeoutError: it goes on after `timeout` seconds.
        """
        if not alive(self.folder):
            return
        os.kill(json.loads((self.folder / "job.json").read_text())["keeper"], signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while alive(self.folder):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Job {self.name} has not ended {timeout:g} s after it was asked to.")
            time.sleep(_PAUSE)

    def resume(self) -> Job:
        """Go on from the last checkpoint, in the same MLflow run.

        Raises:
            UsageError: it is running, or finished.
        """
        status = self.status
        if status not in ("stopped", "failed", "interrupted"):
            raise UsageError(
                f"Job {self.name} is {status}.", "Only a job that has ended early can be resumed."
            )
        start(self.folder)
        return self

    def _outcome(self, status: str) -> Release:
        state, release = self.progress, self.release
        if status == "finished" and release is not None:
            return release
        if status == "failed" and state.error:
            kind = getattr(errors, state.error["type"], JobFailed)
            known = isinstance(kind, type) and issubclass(kind, errors.ThinkubeError)
            raise (kind if known else JobFailed)(state.error["cause"], state.error["fix"])
        done = f"at step {state.step} of {state.steps}" if state.steps else "before its first step"
        raise JobFailed(
            f"Job {self.name} was {status} {done}.", "job.resume() goes on from its last checkpoint."
        )

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        state = self.progress
        return {
            "name": self.name,
            "status": self.status,
            "folder": str(self.folder),
            **{
                key: getattr(state, key) for key in ("step", "steps", "loss", "seconds_left", "memory", "run")
            },
            "error": dict(state.error) if state.error else None,
        }

    def __repr__(self) -> str:
        state = self.progress
        loss = f", loss {state.loss:.3f}" if state.loss is not None else ""
        return f"Job({self.name!r}, {self.status}, step {state.step}/{state.steps}{loss})"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in self.to_dict().items()
            if value is not None
        )
        return f"<table>{cells}</table>"


def jobs() -> list[Job]:
    """All jobs of this machine, oldest first.

    Example:
        for job in tk.jobs():
            print(job.name, job.status)
    """
    return [Job(folder.name, folder) for folder in job_folders(home() / "jobs")]


def job(name: str) -> Job:
    """The job of a name.

    Raises:
        JobNotFound: there is none.
    """
    known = {each.name: each for each in jobs()}
    if name not in known:
        raise JobNotFound(f"There is no job {name!r}.", f"Jobs here: {', '.join(known) or 'none'}.")
    return known[name]


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


def _count_before(job: Job, name: str) -> int:
    results = (folder / "run" / "result.json" for folder in job_folders(job.folder.parent))
    mine = (job.folder / "run" / "result.json").stat().st_mtime_ns
    return sum(
        json.loads(path.read_text(encoding="utf-8"))["name"] == name
        for path in results
        if path.exists() and path.stat().st_mtime_ns < mine
    )
