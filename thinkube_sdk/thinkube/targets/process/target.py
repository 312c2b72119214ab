"""Agents as supervised processes on this machine: the asking side."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from thinkube.bundles.environments import environment, read_lock
from thinkube.model.errors import DeploymentError, DeploymentNotFound
from thinkube.model.manifest import read
from thinkube.model.release import Release
from thinkube.targets.child import Child, ChildFailed
from thinkube.targets.failure import Failure, NotReady
from thinkube.targets.keys import FileKeys
from thinkube.targets.lines import file_lines
from thinkube.targets.process import control, record
from thinkube.targets.process.record import Places
from thinkube.targets.target import Progress, Rollout, State, Status
from thinkube.targets.variables import settings, variables

if TYPE_CHECKING:
    import httpx

START_SECONDS = 20.0
STOP_SECONDS = 45.0


class ProcessCandidate:
    """See `Candidate`."""

    def __init__(
        self,
        name: str,
        kind: str,
        notes: tuple[str, ...],
        say: Callable[[Mapping[str, Any]], dict[str, Any]],
    ) -> None:
        self.kind = kind
        self.notes = notes
        self._name = name
        self._say = say

    def take_over(self, release: Release) -> Status:
        told = {**asdict(replace(release, lineage={})), "lineage": dict(release.lineage)}
        return _status(self._name, _heard(self._say({"release": told})))


class ProcessTarget:
    """Runs each deployment as a process under a supervisor of its own."""

    def names(self) -> list[str]:
        root = record.root()
        if not root.is_dir():
            return []
        return sorted(path.parent.name for path in root.glob("*/deployment.json"))

    def supervised(self) -> list[str]:
        """Names whose supervisor runs, also of those that are only being deployed."""
        root = record.root()
        folders = sorted(root.iterdir()) if root.is_dir() else []
        return [folder.name for folder in folders if folder.is_dir() and Places(folder).supervised()]

    def prepared(
        self,
        bundle: Path,
        given: Mapping[str, str],
        *,
        timeout: float = 120.0,
        inherit: bool = False,
        release: Release | None = None,
        progress: Progress = lambda _: None,
    ) -> Rollout:
        manifest = read(bundle)
        if manifest.cpu or manifest.memory:
            progress("cpu and memory hold on a cluster; on this machine a process takes what it needs")
        python = environment(read_lock(bundle), progress)
        chosen = variables(manifest, given)
        return Rollout(manifest.name, bundle, python, settings(), chosen, timeout, inherit, release)

    @contextmanager
    def candidate(self, rollout: Rollout) -> Iterator[ProcessCandidate]:
        places = record.places(rollout.name)
        places.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.keys(rollout.name).own()  # so that it is never up without one
            supervise(places)
            saved = record.read(places)
            question = {
                "do": "roll out",
                "copy": str(_copy(rollout, places)),
                "python": str(rollout.python),
                "settings": dict(rollout.settings),
                "variables": dict(rollout.variables),
                "timeout": rollout.timeout,
                "inherit": rollout.inherit,
                "replicas": read(rollout.bundle).replicas or (saved.replicas if saved else 1),
            }
            with control.talking(places.control, rollout.timeout + 60) as say:
                loaded = _heard(say(question))
                yield ProcessCandidate(rollout.name, loaded["kind"], tuple(loaded["notes"]), say)
        finally:
            if record.read(places) is None:
                self._remove(places)

    def status(self, name: str) -> Status:
        places = record.places(name)
        saved = record.read(places)
        if saved is None:
            raise _not_found(name, self.names())
        if places.supervised():
            return _status(name, control.ask(places.control, {"do": "status"}))
        assert saved.release is not None
        return Status(name, _url(saved.port), "stopped", saved.release, detail="start it with `thinkube up`")

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        if record.read(record.places(name)) is None:
            raise _not_found(name, self.names())
        return file_lines(record.places(name).log, follow)

    def http(self, name: str, timeout: float) -> httpx.Client:
        import httpx

        url, headers = self.status(name).url, {"authorization": f"Bearer {self.keys(name).own()}"}
        return httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def keys(self, name: str) -> FileKeys:
        places = record.places(name)
        return FileKeys(places.keys, places.owner_key)

    def delete(self, name: str) -> None:
        places = record.places(name)
        if not places.folder.is_dir():
            raise _not_found(name, self.names())
        self._remove(places)

    def stop(self, name: str) -> None:
        """End its processes; `resume` starts them again."""
        _stop(record.places(name))

    def resume(self, name: str, python: Path, variables: Mapping[str, str]) -> None:
        """Start what is recorded, and go on trying if it does not get ready."""
        places = record.places(name)
        saved = record.read(places)
        if saved is None or saved.release is None or places.supervised():
            return
        supervise(places)
        question = {
            "do": "resume",
            "copy": saved.copy,
            "python": str(python),
            "settings": dict(saved.settings),
            "variables": dict(variables),
            "timeout": saved.timeout,
            "inherit": False,
            "replicas": saved.replicas,
        }
        control.ask(places.control, question)

    def _remove(self, places: Places) -> None:
        _stop(places)
        places.control.unlink(missing_ok=True)
        shutil.rmtree(places.folder, ignore_errors=True)


def supervise(places: Places) -> None:
    """Make sure that a supervisor runs and answers."""
    if places.supervised():
        return
    child = Child(
        [sys.executable, "-P", "-m", "thinkube.targets.process.supervisor", str(places.folder)],
        env=_supervisor_environment(),
        log=places.supervisor_log,
        ready=lambda: places.supervised() and _answers(places),
        cwd=places.folder,
        bound=False,
    )
    try:
        child.wait_ready(START_SECONDS)
    except ChildFailed as error:
        tail = "".join(f"\n    {line}" for line in error.tail)
        raise DeploymentError(
            f"The supervisor of {places.folder.name} did not start.{tail}", "Try again."
        ) from error


def _answers(places: Places) -> bool:
    try:
        return bool(control.ask(places.control, {"do": "status"}, 5.0)["ok"])
    except DeploymentError:
        return False


def _supervisor_environment() -> dict[str, str]:
    """No credential of ours: the supervisor outlives this process."""
    names = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "THINKUBE_HOME",
        "VIRTUAL_ENV",
        "PYTHONPATH",
    )
    return {name: os.environ[name] for name in names if name in os.environ}


def _heard(answer: dict[str, Any]) -> dict[str, Any]:
    if answer["ok"]:
        return answer
    told = answer["failure"]
    raise NotReady(Failure(**{**told, "frames": tuple(told["frames"]), "tail": tuple(told["tail"])}))


def _copy(rollout: Rollout, places: Places) -> Path:
    """A copy of the bundle to run in: what an agent writes beside its code stays out of the store."""
    places.copies.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="release-", dir=places.copies))
    shutil.copytree(rollout.bundle, folder, dirs_exist_ok=True)
    return folder


def _status(name: str, answer: Mapping[str, Any]) -> Status:
    saved = answer["record"]["release"]
    if saved is None:
        raise DeploymentNotFound(f"{name} has no release that got ready yet.", "Deploy it again.")
    return Status(
        name, _url(answer["port"]), cast("State", answer["state"]), Release(**saved),
        answer["pid"], answer["restarts"], answer["detail"],
    )  # fmt: skip


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _not_found(name: str, known: list[str]) -> DeploymentNotFound:
    return DeploymentNotFound(
        f"There is no deployment {name!r}. There are: {', '.join(known) or 'none'}.",
        "Deploy one with: thinkube deploy notebook.ipynb --object agent",
    )


def _stop(places: Places) -> None:
    if not places.supervised():
        return
    with contextlib.suppress(DeploymentError):  # it may end before it answers
        control.ask(places.control, {"do": "stop"}, STOP_SECONDS)
    if not _until(lambda: not places.supervised(), 5.0):
        # It hangs. Its guard ends the workers when it is gone.
        os.kill(int(places.lock.read_text()), signal.SIGKILL)
        _until(lambda: not places.supervised(), 5.0)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
