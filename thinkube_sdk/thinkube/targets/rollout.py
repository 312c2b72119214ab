"""Roll a registered release out, back, or out again after a reboot."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from thinkube.bundles.environments import environment, read_lock
from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.store import Store
from thinkube.model.capture import Capture
from thinkube.model.errors import DeploymentNotFound
from thinkube.model.manifest import read
from thinkube.model.release import Release
from thinkube.targets.failure import NotReady, explained
from thinkube.targets.process import record
from thinkube.targets.process.target import ProcessTarget
from thinkube.targets.target import Progress, Rollout, Status
from thinkube.targets.variables import settings, variables


def silent(_message: str) -> None:
    """Say nothing."""


def ordered(name: str, progress: Progress) -> AbstractContextManager[None]:
    """A deployment's turn: of two deploys at once, the second registers when the first has its result."""
    lock = record.root() / f".{name}.lock"
    return exclusive(lock, f"another deploy of {name} is at work; waiting", progress)


def roll_out(
    target: ProcessTarget,
    release: Release,
    python: Path,
    *,
    secrets: Mapping[str, str],
    timeout: float,
    capture: Capture | None,
    inherit: bool = False,
    progress: Progress = silent,
) -> Status:
    """Give a release the traffic when it is ready.

    Raises:
        RolloutFailed: it did not get ready. What ran before still does.
    """
    bundle = Store().get(release.digest)
    rollout = Rollout(release, bundle, python, settings(), variables(read(bundle), secrets), timeout)
    try:
        return target.roll_out(release.name, rollout, progress, inherit=inherit)
    except NotReady as error:
        raise explained(error.failure, release.name, _running(target, release.name), capture) from error


def roll_back(target: ProcessTarget, name: str, release: Release, progress: Progress = silent) -> Status:
    """Run an earlier release, with the secrets that the running one has."""
    with ordered(name, progress):
        python = environment(read_lock(Store().get(release.digest)), progress)
        return roll_out(
            target, release, python, secrets={}, timeout=120.0, capture=None, inherit=True, progress=progress
        )


def resume(progress: Progress = silent) -> list[str]:
    """Start every recorded deployment that is not running, as after a reboot.

    Secrets are taken from this process's environment: they are not written down.

    Returns:
        The names of those that were started. They get ready by themselves; see their status.
    """
    target, started = ProcessTarget(), []
    for name in target.names():
        places = record.places(name)
        saved = record.read(places)
        if saved is None or places.supervised():
            continue
        progress(f"starting {name}")
        copy = Path(saved.copy)
        python = Path(saved.python) if Path(saved.python).exists() else environment(read_lock(copy), progress)
        given = {key: os.environ[key] for key in saved.variables if key in os.environ}
        target.resume(name, python, {**variables(read(copy), {}), **given})
        started.append(name)
    return started


def stop_all(progress: Progress = silent) -> list[str]:
    """End the processes of every deployment; `resume` starts them again.

    Returns:
        The names of those that ran.
    """
    target, stopped = ProcessTarget(), []
    for name in target.names():
        if record.places(name).supervised():
            progress(f"stopping {name}")
            target.stop(name)
            stopped.append(name)
    return stopped


def _running(target: ProcessTarget, name: str) -> str:
    try:
        now = target.status(name)
    except DeploymentNotFound:
        return ""
    return f"Release {now.release.version}"
