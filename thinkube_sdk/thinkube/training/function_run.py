"""A training function from its parameters to its result: state, MLflow run, checkpoints, stop."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import traceback
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from thinkube.model.bundle import Manifest
from thinkube.model.entry import EntryFailed, load
from thinkube.model.errors import JobFailed, ThinkubeError
from thinkube.model.manifest import read as read_manifest
from thinkube.training import job
from thinkube.training.function_tracking import FunctionTracking, track
from thinkube.training.parameters import check, restore
from thinkube.training.state import Reporter, write_json
from thinkube.training.stopped import Stopped

RESULT = "returned.json"

# Of a bundle, what the job does not run: its tests, and how a cluster starts it.
_BESIDE = ("tests", "workflow.py")


def run(
    bundle: Path,
    parameters: Mapping[str, Any],
    work: Path,
    name: str,
    experiment: str | None = None,
    *,
    texts: bool = False,
) -> Any:
    """Call a bundle's function. In a folder where this was begun before, in the same MLflow run.

    Args:
        bundle: the folder that holds `thinkube.yaml`.
        parameters: by the names of the signature, as JSON keeps them.
        work: where state and checkpoints are kept.
        name: of the job.
        experiment: MLflow's.
        texts: the parameters are texts to be read by their types.

    Returns:
        What the function returned, as JSON keeps it.

    Raises:
        Stopped: it was asked to end.
        ThinkubeError: it can't run. What the function raises is raised.
    """
    checkpoints = work / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    os.environ[job.CHECKPOINTS] = str(checkpoints)
    reporter = Reporter(work)
    stop = _Stop()
    tracking: FunctionTracking | None = None
    try:
        reporter.say(error=None)
        reporter.phase("preparing")
        bundle = bundle.absolute()
        tracking = _track(bundle, parameters, name, experiment, reporter)
        function, values = _loaded(bundle, parameters, texts)
        job.listen(_Listener(reporter, tracking).hear)
        reporter.phase("running", "again, with its checkpoints" if any(checkpoints.iterdir()) else "")
        stop.open()
        returned = function(**values)
        returned = asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned
        stop.close()
        if stop.asked:
            raise Stopped
        result = _kept(returned, work, reporter, tracking)
        if tracking:
            tracking.drain()
    except BaseException as error:
        stop.close()
        if stop.asked and not isinstance(error, Stopped):
            error = Stopped()
        _fail(reporter, tracking, error)
        if isinstance(error, Stopped):
            raise error from None
        raise
    reporter.phase("finished", f"returned {json.dumps(result):.200}")
    if tracking:
        tracking.end("FINISHED")
    return result


def _track(
    bundle: Path, parameters: Mapping[str, Any], name: str, experiment: str | None, reporter: Reporter
) -> FunctionTracking | None:
    manifest = read_manifest(bundle)
    begun = reporter.state.run
    tracking = track(experiment or manifest.name, name, {}, begun)
    reporter.say(run=tracking.run if tracking else None)
    if tracking is None:
        reporter.note("no MLflow is known, so this run is kept in the job's folder only")
        return None
    if begun is None:
        files = _files(bundle, manifest)
        tracking.describe(parameters, _tags(bundle, manifest), files)
    # `mlflow.start_run()` in the function takes up this run.
    os.environ["MLFLOW_RUN_ID"] = tracking.run
    os.environ["MLFLOW_EXPERIMENT_ID"] = tracking.experiment
    return tracking


def _loaded(bundle: Path, parameters: Mapping[str, Any], texts: bool) -> tuple[Any, dict[str, Any]]:
    try:
        function = load(bundle).subject
    except EntryFailed as error:
        traceback.print_exception(error.__cause__ or error)
        raise JobFailed(
            f"The captured code does not import: {error.report['error']}: {error.report['message']}",
            "See job.logs() for the place.",
        ) from error
    return function, restore(function, check(function, parameters, texts=texts))


def _files(bundle: Path, manifest: Manifest) -> dict[str, bytes]:
    """Source and lock, for the run's artifacts."""
    code = {
        f"code/{path.relative_to(bundle).as_posix()}": path.read_bytes()
        for path in sorted(bundle.rglob("*.py"))
        if path.relative_to(bundle).parts[0] not in _BESIDE
    }
    return {"environment/requirements.txt": (bundle / manifest.requirements).read_bytes(), **code}


def _tags(bundle: Path, manifest: Manifest) -> dict[str, str]:
    requirements = (bundle / manifest.requirements).read_bytes()
    sums = bundle / "SHA256SUMS"
    return {
        "mlflow.source.name": manifest.lineage.get("notebook", manifest.entrypoint),
        "thinkube.entrypoint": manifest.entrypoint,
        "thinkube.environment": sha256(requirements).hexdigest(),
        **({"thinkube.digest": sha256(sums.read_bytes()).hexdigest()} if sums.is_file() else {}),
        **{f"thinkube.lineage.{key}": value for key, value in manifest.lineage.items()},
    }


def _kept(returned: Any, work: Path, reporter: Reporter, tracking: FunctionTracking | None) -> Any:
    try:
        result = to_jsonable_python(returned, fallback=_plain)
    except (ValueError, TypeError, RecursionError):
        # Hours of training are not thrown away for a return value.
        result = repr(returned)
        reporter.note(f"the returned {type(returned).__name__} has no JSON form: its repr is kept")
    write_json(work / RESULT, {"format": 1, "returned": result})
    if tracking:
        tracking.keep("returned.json", json.dumps(result, indent=1).encode())
    return result


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers and arrays."""
    for form in ("tolist", "item"):
        if callable(found := getattr(value, form, None)):
            return found()
    raise ValueError(f"{type(value).__name__} has no JSON form")


async def _awaited(value: Any) -> Any:
    return await value


class _Listener:
    """Takes what the function reports into the state, the metrics and MLflow."""

    def __init__(self, reporter: Reporter, tracking: FunctionTracking | None) -> None:
        self._reporter = reporter
        self._tracking = tracking
        self._pace = job.Pace()

    def hear(self, step: int, steps: int | None, metrics: Mapping[str, float]) -> None:
        known = steps or self._reporter.state.steps or 0
        self._reporter.say(
            step=step, steps=known, loss=metrics.get("loss"), seconds_left=self._pace.left(step, known)
        )
        if metrics:
            self._reporter.metrics(step, metrics)
            if self._tracking:
                self._tracking.metrics(step, metrics)


def _fail(reporter: Reporter, tracking: FunctionTracking | None, error: BaseException) -> None:
    if isinstance(error, Stopped):
        reporter.phase("stopped", "it can be resumed")
        _end(tracking, "KILLED")
        return
    if isinstance(error, ThinkubeError):
        cause, fix = error.cause, error.fix
    else:
        traceback.print_exception(error)
        cause, fix = f"{type(error).__name__}: {error}", "See job.logs() for the traceback."
    reporter.say(error={"type": type(error).__name__, "cause": cause, "fix": fix})
    reporter.phase("failed", cause)
    _end(tracking, "FAILED")


def _end(tracking: FunctionTracking | None, status: str) -> None:
    if tracking:
        try:
            tracking.drain()
        finally:
            tracking.end(status)


class _Stop:
    """SIGTERM is the notebook's stop button: it raises KeyboardInterrupt where the function stands."""

    def __init__(self) -> None:
        self.asked = False
        self._inside = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def open(self) -> None:
        """From now on it interrupts."""
        self._inside = True
        if self.asked:
            raise KeyboardInterrupt

    def close(self) -> None:
        """No longer."""
        self._inside = False

    def _ask(self, _number: int, _frame: object) -> None:
        self.asked = True
        if self._inside:
            raise KeyboardInterrupt
