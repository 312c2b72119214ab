"""What a place where agents run has to be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from thinkube.model.release import Release
from thinkube.targets.keys import KeyRing

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str], None]
State = Literal["starting", "running", "restarting", "crash loop", "stopped"]


@dataclass(frozen=True)
class Rollout:
    """What is to take over a deployment's traffic.

    Attributes:
        name: the deployment's name.
        bundle: the folder in the content store.
        python: the interpreter of its environment, where it runs in one of this machine.
        settings: plain variables, kept with the deployment.
        variables: variables that may hold credentials: handed to the process, never written down.
        timeout: seconds it may take until it is ready.
        inherit: variables that the running release has and `variables` lacks are kept.
        release: what it is expected to become, where that is told to it at its start.
    """

    name: str
    bundle: Path
    python: Path | None
    settings: Mapping[str, str]
    variables: Mapping[str, str] = field(repr=False)
    timeout: float = 120.0
    inherit: bool = False
    release: Release | None = None


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


class Candidate(Protocol):
    """A release whose code has been imported where it will run, and which takes no requests yet.

    Attributes:
        kind: what sort of object it serves.
        notes: what there is to know about how it will run, one sentence each.
    """

    kind: str
    notes: tuple[str, ...]

    def take_over(self, release: Release) -> Status:
        """Give it the traffic as this release, and let the one before drain.

        Raises:
            NotReady: it does not serve. What ran before still does.
        """


class Target(Protocol):
    """A place where agents run."""

    def names(self) -> list[str]:
        """The deployments there."""

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
        """What has to be there before a bundle can be rolled out.

        Args:
            bundle: the folder in the content store.
            given: secrets' values by name, beside those that are known here.
            release: what it is expected to become.
        """

    def candidate(self, rollout: Rollout) -> AbstractContextManager[Candidate]:
        """Start a release beside the one that runs. It is ended again unless it takes over.

        Raises:
            NotReady: its code can't be imported there, or not in time.
        """

    def status(self, name: str) -> Status:
        """What a deployment is doing.

        Raises:
            DeploymentNotFound: there is none of that name.
        """

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """The lines it has logged, and with `follow` those to come."""

    def http(self, name: str, timeout: float) -> httpx.Client:
        """A client of a deployment with its owner's key, whichever way it is reached from here."""

    def keys(self, name: str) -> KeyRing:
        """Its keys: whoever has one may call it."""

    def delete(self, name: str) -> None:
        """Stop it and remove everything it left."""
