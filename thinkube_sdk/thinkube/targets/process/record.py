"""What is on disk of a deployment: its folder, and the record that a restart goes by.

Standard library only: the supervisor reads this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from thinkube.model.errors import ConfigurationError
from thinkube.model.release import Release
from thinkube.model.settings import home

FORMAT = 1
_SOCKET_PATH = 100  # the system's limit is 104 bytes on macOS, 108 on Linux
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Record:
    """A deployment as it is to run, also after a reboot.

    Attributes:
        port: its port on 127.0.0.1, kept over all releases; 0 before the first start.
        release: the release that has the traffic; None before the first is ready.
        copy: the folder it runs in, a copy of the bundle.
        python: its interpreter.
        settings: plain variables it gets.
        variables: names of the further variables it gets; their values are not written down.
        timeout: seconds it may take to get ready.
        replicas: how many processes serve it.
    """

    name: str
    port: int = 0
    release: Release | None = None
    copy: str = ""
    python: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    variables: tuple[str, ...] = ()
    timeout: float = 120.0
    replicas: int = 1

    def to_dict(self) -> dict[str, Any]:
        release = self.release and {
            **asdict(replace(self.release, lineage={})),
            "lineage": dict(self.release.lineage),
        }
        plain = asdict(replace(self, release=None, settings={}))
        return {"version": FORMAT, **plain, "release": release, "settings": dict(self.settings)}


@dataclass(frozen=True)
class Places:
    """The files of one deployment's folder."""

    folder: Path

    @property
    def record(self) -> Path:
        return self.folder / "deployment.json"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def keys(self) -> Path:
        """The digests of its keys."""
        return self.folder / "keys.json"

    @property
    def owner_key(self) -> Path:
        """The key that its owner's own calls are made with."""
        return self.folder / "owner.key"

    @property
    def supervisor_log(self) -> Path:
        return self.folder / "supervisor.log"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it runs."""
        return self.folder / "supervisor.lock"

    @property
    def copies(self) -> Path:
        return self.folder / "releases"

    @property
    def state(self) -> Path:
        """What its agent keeps over all releases."""
        return self.folder / "state"

    @property
    def control(self) -> Path:
        """The supervisor's socket; in the folder if its path is short enough for the system."""
        path = self.folder / "control.sock"
        if len(os.fsencode(path)) < _SOCKET_PATH:
            return path
        short = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:20]
        # Not the temporary folder of the environment, which differs between a terminal and a kernel.
        return Path(f"/tmp/thinkube-{os.getuid()}") / f"{short}.sock"

    def supervised(self) -> bool:
        """Whether a supervisor runs."""
        if not self.lock.exists():
            return False
        with self.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def hold(self) -> IO[bytes] | None:
        """Take the supervisor's lock; None if another has it. The lock lasts as long as the file is open."""
        file = self.lock.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        file.truncate(0)
        file.write(b"%d" % os.getpid())
        file.flush()
        return file


def root() -> Path:
    """The folder of all deployments."""
    return home() / "deployments"


def places(name: str) -> Places:
    return Places(root() / name)


def read(places: Places) -> Record | None:
    """A deployment's record; None if there is none.

    Raises:
        ConfigurationError: it is damaged, or of another version of Thinkube.
    """
    try:
        document = json.loads(places.record.read_text(encoding="utf-8"))
        if document["version"] != FORMAT:
            raise ConfigurationError(
                f"{places.record} was written by another version of Thinkube (format {document['version']}).",
                "Delete the deployment with that version, or remove its folder, and deploy again.",
            )
        del document["version"]
        release = document["release"] and Release(
            **{**document["release"], "lineage": MappingProxyType(document["release"]["lineage"])}
        )
        settings = MappingProxyType(document["settings"])
        return Record(
            **{
                **document,
                "release": release,
                "settings": settings,
                "variables": tuple(document["variables"]),
            }
        )
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{places.record} is damaged: {error}.", "Remove the deployment's folder and deploy again."
        ) from error


def write(places: Places, record: Record) -> None:
    """Replace the record in one step."""
    with tempfile.NamedTemporaryFile("w", dir=places.folder, delete=False, encoding="utf-8") as file:
        json.dump(record.to_dict(), file, indent=1)
    Path(file.name).replace(places.record)
