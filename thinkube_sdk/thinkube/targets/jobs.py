"""Jobs: fine-tuning, or a function of one's own, that goes on when the notebook is gone."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from thinkube.model import errors
from thinkube.model.errors import JobFailed, JobNotFound, UsageError
from thinkube.model.evaluation import Evaluation, Example
from thinkube.model.release import Release
from thinkube.model.settings import home
from thinkube.targets.jobs_keeper import job_folders
from thinkube.targets.jobs_local import LocalPlace
from thinkube.training.state import ENDED, RunState

_PAUSE = 0.2


class Place(Protocol):
    """Where a job runs: a folder of this machine, or a workflow of a cluster."""

    @property
    def name(self) -> str: ...

    def state(self) -> RunState:
        """What it said last."""

    def alive(self) -> bool:
        """Whether anything of it runs or waits to."""

    def metrics(self) -> list[dict[str, float]]:
        """Every step's figures."""

    def document(self, name: str) -> dict[str, Any] | None:
        """A result: `result.json`, `evaluation.json`, `returned.json`."""

    def number_of(self, name: str) -> int:
        """Its model's number, where no registry counts."""

    def lines(self, follow: bool) -> Iterator[str]:
        """Its log."""

    def ask_to_stop(self) -> None:
        """Have it end with a checkpoint."""

    def kill(self) -> None:
        """End it by force."""

    def resume(self) -> None:
        """Go on from its last checkpoint."""

    def described(self) -> dict[str, Any]:
        """Where it is, for programs."""


@dataclass(frozen=True)
class Job:
    """One job. It lives on where it runs; this only looks at it.

    Attributes:
        name: of the job; that of the model or function, and a number.
        place: where it runs.
    """

    name: str
    place: Place

    @property
    def folder(self) -> Path:
        """Recipe or code, log, checkpoints and results of a job of this machine.

        Raises:
            UsageError: it runs on a cluster.
        """
        if isinstance(self.place, LocalPlace):
            return self.place.folder
        raise UsageError(f"Job {self.name} runs on a cluster.", "Its files are on the volume it names.")

    @property
    def progress(self) -> RunState:
        """Phase, step, loss, tokens a second, time left, memory."""
        return self.place.state()

    @property
    def status(self) -> str:
        """Its phase; `interrupted` when its processes are gone before it ended."""
        state = self.progress
        over = state.phase in ENDED or self.place.alive()
        # It may have ended between the two looks.
        return (
            state.phase
            if over
            else ("interrupted" if (now := self.progress).phase not in ENDED else now.phase)
        )

    @property
    def metrics(self) -> list[dict[str, float]]:
        """Loss, gradient, learning rate and speed of every step; of a function, what it reported."""
        return self.place.metrics()

    @property
    def release(self) -> Release | None:
        """The tuned model; None before it is there, and for a function."""
        result = self.place.document("result.json")
        if result is None:
            return None
        there = result["registered"]
        return Release(
            name=result["name"],
            version=there["version"] if there else self.place.number_of(result["name"]),
            digest=result["digest"],
            created=result["written"],
            source=there["source"] if there else Path(result["model"]).as_uri(),
            registry=there["registry"] if there else None,
            lineage=MappingProxyType({**result["lineage"], "job": self.name}),
        )

    @property
    def result(self) -> Any:
        """The tuned model, or what the function returned, as JSON keeps it; None before it is there."""
        returned = self.place.document("returned.json")
        return self.release if returned is None else returned["returned"]

    @property
    def evaluation(self) -> Evaluation | None:
        """Base against tuned model on the held-out rows; None before it is there."""
        found = self.place.document("evaluation.json")
        if found is None:
            return None
        del found["written"]
        examples = tuple(Example(**example) for example in found.pop("examples"))
        return Evaluation(**found, examples=examples)

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Any:
        """Wait for the result, with a bar.

        Args:
            timeout: seconds; without one, until it ends.

        Returns:
            The tuned model's `Release`, or what the function returned.

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
        return self.place.lines(follow)

    def stop(self, timeout: float = 600.0, *, kill: bool = False) -> None:
        """End it so that it can go on: fine-tuning after the step it is in, a function where it stands.

        Args:
            timeout: seconds to wait for that.
            kill: end it by force after `timeout` seconds.

        Raises:
            TimeoutError: it goes on after `timeout` seconds.
        """
        if not self.place.alive():
            return
        self.place.ask_to_stop()
        deadline = time.monotonic() + timeout
        while self.place.alive():
            if time.monotonic() > deadline:
                if not kill:
                    raise TimeoutError(
                        f"Job {self.name} has not ended {timeout:g} s after it was asked to; "
                        "stop(kill=True) ends it by force."
                    )
                self.place.kill()
                kill, deadline = False, time.monotonic() + timeout
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
        self.place.resume()
        return self

    def _outcome(self, status: str) -> Any:
        state = self.progress
        if status == "finished":
            return self.result
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
        state, release = self.progress, self.release
        return {
            "name": self.name,
            "status": self.status,
            **self.place.described(),
            **{
                key: getattr(state, key)
                for key in ("note", "step", "steps", "loss", "seconds_left", "memory", "run")
            },
            "error": dict(state.error) if state.error else None,
            "result": {"name": release.name, "version": release.version} if release else self.result,
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


def jobs(on: str | None = None) -> list[Job]:
    """All jobs of this machine, or of a context's cluster, oldest first.

    Example:
        for job in tk.jobs():
            print(job.name, job.status)
    """
    if on is None:
        return [Job(folder.name, LocalPlace(folder)) for folder in job_folders(home() / "jobs")]
    from thinkube.services.kubernetes_api import connect
    from thinkube.targets.argo.jobs import ArgoPlace, names
    from thinkube.targets.argo.submit import cluster_of

    api = connect(cluster_of(on))
    return [Job(name, ArgoPlace(api, name)) for name in names(api)]


def job(name: str, on: str | None = None) -> Job:
    """The job of a name, on this machine or on a context's cluster.

    Raises:
        JobNotFound: there is none.
    """
    known = {each.name: each for each in jobs(on)}
    if name not in known:
        there = "here" if on is None else f"on {on}"
        raise JobNotFound(
            f"There is no job {name!r} {there}.", f"Jobs {there}: {', '.join(known) or 'none'}."
        )
    return known[name]
