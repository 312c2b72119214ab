"""What a program of the stack is given: its command, its folder, its port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from thinkube.services.state import LocalService, directory


@dataclass(frozen=True)
class Command:
    """What to execute: the arguments, and variables added to the environment.

    Attributes:
        for_user: it runs the user's own code, so it gets the whole of the user's environment.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    for_user: bool = False


def data(service: LocalService) -> Path:
    """The folder a program keeps its data in."""
    folder = directory() / "data" / service.name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def port(service: LocalService) -> int:
    """The port of its URL."""
    return int(service.url.rpartition(":")[2])
