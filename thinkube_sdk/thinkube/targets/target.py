"""What a place where agents run has to be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from thinkube.model.release import Release

Progress = Callable[[str], None]
State = Literal["starting", "running", "restarting", "crash loop", "stopped"]


@dataclass(frozen=True)
class Rollout:
    """A release that is to take over a deployment's traffic.

    Attributes:
        release: what runs.
        bundle: its folder in the content store.
        python: the interpreter of its environment.
        settings: plain variables, kept with the deployment.
        variables: variables that may hold credentials: handed to the process, never written down.
        timeout: seconds it may take until it is ready.
    """

    release: Release
    bundle: Path
    python: Path
    settings: Mapping[str, str]
    variables: Mapping[str, str] = field(repr=False)
    timeout: float = 120.0


@dataclass(frozen=True)
class Status:
    """What a deployment is doing.

    Attributes:
        url: where it answers; the same over all its releases.
        state: `crash loop` after several failures in a row; it is still tried again.
        release: the one that has the traffic.
        pid: its process, while there is one.
        restarts: how often this release was started again after a crash.
        detail: why it isn't running, if it isn't.
    """

    name: str
    url: str
    state: State
    release: Release
    pid: int | None = None
    restarts: int = 0
    detail: str = ""


class Target(Protocol):
    """A place where agents run."""

    def names(self) -> list[str]:
        """The deployments there."""

    def roll_out(self, name: str, rollout: Rollout, progress: Progress) -> Status:
        """Start a release; give it the traffic when it is ready, and then let the one before drain.

        Raises:
            RolloutFailed: it did not get ready. What ran before still does.
        """

    def status(self, name: str) -> Status:
        """What a deployment is doing.

        Raises:
            DeploymentNotFound: there is none of that name.
        """

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """The lines it has logged, and with `follow` those to come."""

    def delete(self, name: str) -> None:
        """Stop it and remove everything it left."""
