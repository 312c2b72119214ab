"""Releases written by hand, rolled out as real processes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from thinkube.model.bundle import Manifest
from thinkube.model.manifest import write
from thinkube.model.release import Release
from thinkube.targets.process.target import ProcessTarget
from thinkube.targets.rollout import stop_all
from thinkube.targets.target import Rollout, Status


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def processes(text: str) -> list[int]:
    """The processes whose command line holds a text."""
    command = ["ps", "-A", "-ww", "-o", "pid=,stat=,args="]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [int(row[0]) for row in rows if len(row) == 3 and text in row[2] and not row[1].startswith("Z")]


@dataclass
class Trials:
    """Rolls out sources under a home of their own."""

    home: Path
    target: ProcessTarget = field(default_factory=ProcessTarget)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def roll_out(
        self,
        source: str,
        name: str = "trial",
        timeout: float = 20.0,
        variables: Mapping[str, str] | None = None,
        replicas: int = 1,
    ) -> Status:
        version = next(self.versions)
        bundle = self.home / "bundles" / f"{name}-{version}"
        bundle.mkdir(parents=True)
        (bundle / "trial_agent.py").write_text(textwrap.dedent(source))
        manifest = Manifest(
            name, "trial_agent:agent", "Agent", "tkt-langchain-agent", "3.11", replicas=replicas
        )
        (bundle / "thinkube.yaml").write_text(write(manifest))
        release = Release(name, version, f"{version:064d}", time.time(), str(bundle))
        given = {"THINKUBE_HOME": str(self.home), "PATH": "/usr/bin:/bin", **(variables or {})}
        with self.target.candidate(
            Rollout(name, bundle, Path(sys.executable), {}, given, timeout)
        ) as candidate:
            return candidate.take_over(release)


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trials]:
    monkeypatch.setenv("THINKUBE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield Trials(tmp_path / "home")
    stop_all()
    until(lambda: processes(str(tmp_path)) == [], 5)
