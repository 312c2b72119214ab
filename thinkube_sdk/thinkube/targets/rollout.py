"""Roll a registered release out, back, or out again after a reboot."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from thinkube.bundles.environments import environment, read_lock
from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.store import Store
from thinkube.model.bundle import Bundle
from thinkube.model.errors import DeploymentNotFound, RolloutFailed
from thinkube.model.manifest import read
from thinkube.model.release import Release
from thinkube.targets.failure import NotReady, explained
from thinkube.targets.process import record
from thinkube.targets.process.target import ProcessTarget
from thinkube.targets.target import Progress, Rollout, Status, Target
from thinkube.targets.variables import variables


def silent(_message: str) -> None:
    """Say nothing."""


def ordered(name: str, progress: Progress) -> AbstractContextManager[None]:
    """A deployment's turn: of two deploys at once, the second registers when the first has its result."""
    lock = record.root() / f".{name}.lock"
    return exclusive(lock, f"another deploy of {name} is at work; waiting", progress)


def roll_out(
    target: Target,
    bundle: Bundle | Path,
    rollout: Rollout,
    release: Callable[[], Release],
    *,
    kind: str | None = None,
    progress: Progress = silent,
) -> Status:
    """Start a bundle beside what runs; when its code is imported, make it a release and give it the traffic.

    Args:
        bundle: what it was made from, to name the notebook's cells; or only its folder.
        release: called then: registers it, or tells the release it already is.
        kind: what the live object is, where that is known.

    Raises:
        RolloutFailed: it did not get ready. Nothing was registered, and what ran before still does.
    """
    name = rollout.name
    capture = bundle.capture if isinstance(bundle, Bundle) else None
    try:
        with target.candidate(rollout) as candidate:
            if kind is not None and candidate.kind != kind:
                raise RolloutFailed(
                    f"{name} is a {kind} here and a {candidate.kind} when its captured code runs.",
                    "A statement that the object needs was left out, or its name was bound again.",
                )
            for note in candidate.notes:
                progress(note)
            registered = release()
            progress(f"switching {name} to release {registered.version}")
            return candidate.take_over(registered)
    except NotReady as error:
        manifest = read(rollout.bundle)
        raise explained(error.failure, manifest, _running(target, name), capture) from error


def roll_back(target: Target, release: Release, progress: Progress = silent) -> Status:
    """Run an earlier release, with the secrets that the running one has.

    Raises:
        RolloutFailed: it did not get ready. What ran before still does.
    """
    with ordered(release.name, progress):
        bundle = Store().get(release.digest)
        rollout = target.prepared(bundle, {}, inherit=True, release=release, progress=progress)
        rollout = replace(rollout, name=release.name)
        progress(f"starting release {release.version} of {release.name}")
        return roll_out(target, bundle, rollout, lambda: release, progress=progress)


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
    for name in target.supervised():
        progress(f"stopping {name}")
        target.stop(name)
        stopped.append(name)
    return stopped


def _running(target: Target, name: str) -> str:
    try:
        now = target.status(name)
    except DeploymentNotFound:
        return ""
    return f"Release {now.release.version}"
