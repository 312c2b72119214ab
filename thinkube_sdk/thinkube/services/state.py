"""The local stack's state file: what runs, where, with what credentials. Written by the stack's supervisor.

The file is JSON, readable by its owner alone, replaced as a whole, and carries a version.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from thinkube.model.errors import ConfigurationError
from thinkube.model.private import write_private
from thinkube.model.settings import home

VERSION = 1

Stage = Literal["waiting", "preparing", "starting", "ready", "restarting", "failed", "stopped"]


@dataclass(frozen=True)
class LocalService:
    """One program of the stack.

    Attributes:
        name: as the stack calls it: `mlflow`, `gateway`, `models`, `embeddings`, `nats`, `qdrant`.
        title: as a person calls it.
        serves: the services of the service table that it stands for.
        url: where it listens.
        stage: how far it is.
        detail: what it does right now, or why it failed.
        secret: what it asks for.
        username: the name that goes with the secret, if any.
        options: further settings of its endpoints.
        pid: its process, 0 when there is none.
        restarts: how often it was started again after it died.
        ended: how it died the last time, such as `SIGKILL`.
        ended_at: when that was, in seconds since 1970.
        log: the file its output goes to.
    """

    name: str
    title: str
    serves: tuple[str, ...]
    url: str
    stage: Stage = "waiting"
    detail: str = ""
    secret: str = field(default="", repr=False)
    username: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    pid: int = 0
    restarts: int = 0
    ended: str = ""
    ended_at: float = 0.0
    log: str = ""


@dataclass(frozen=True)
class State:
    """The whole stack.

    Attributes:
        supervisor: the supervisor's process, 0 when the stack is down.
        services: by name, in the order they are shown.
    """

    supervisor: int
    services: Mapping[str, LocalService]


def directory() -> Path:
    """The folder of the stack's state, data and logs."""
    return home() / "stack"


def state_file() -> Path:
    """The state file."""
    return directory() / "state.json"


def read() -> State | None:
    """Read the state file; None when there is none.

    Raises:
        ConfigurationError: it is malformed, or was written by another version.
    """
    path = state_file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        document = json.loads(text)
        version = document["version"]
        if version != VERSION:
            raise ConfigurationError(
                f"{path} has version {version}; this Thinkube reads version {VERSION}.",
                "Run `thinkube down` and `thinkube up` with one and the same version of thinkube-sdk.",
            )
        services = {name: _service(entry) for name, entry in document["services"].items()}
        return State(int(document["supervisor"]), MappingProxyType(services))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} can't be read as the stack's state: {type(error).__name__}: {error}.",
            f"Stop the stack's processes, delete {path}, and run `thinkube up`.",
        ) from error


def write(state: State) -> None:
    """Replace the state file."""
    document = {
        "version": VERSION,
        "supervisor": state.supervisor,
        "services": {
            name: {**vars(service), "options": dict(service.options)}
            for name, service in state.services.items()
        },
    }
    path = state_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, json.dumps(document, indent=2) + "\n")


def supervised() -> bool:
    """Whether a supervisor runs: it holds a lock on the stack's folder for as long as it lives."""
    try:
        descriptor = os.open(directory(), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def hold() -> int | None:
    """Take the supervisor's lock for as long as this process lives; None when another holds it."""
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory(), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


_FIELDS = frozenset(each.name for each in fields(LocalService))


def _service(entry: dict[str, Any]) -> LocalService:
    if unknown := set(entry) - _FIELDS:
        raise ValueError(f"unknown keys {', '.join(sorted(unknown))}")
    if entry["stage"] not in get_args(Stage):
        raise ValueError(f"unknown stage {entry['stage']!r}")
    return LocalService(
        **{
            **entry,
            "serves": tuple(entry["serves"]),
            "options": MappingProxyType(dict(entry["options"])),
        }
    )
