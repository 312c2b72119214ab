"""The environments of programs whose requirements don't go together with ours."""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement

from thinkube.bundles.environments import environment, this_platform
from thinkube.bundles.progress import Progress, silent
from thinkube.model.lock import Lock, Pin

_REQUIREMENTS = Path(__file__).parent / "requirements"


def lock(requirements: str) -> Lock:
    """The pins of a shipped requirements file that this machine needs."""
    pins = []
    for line in (_REQUIREMENTS / requirements).read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            (pin,) = requirement.specifier
            pins.append(Pin(requirement.name, pin.version))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Lock(python, this_platform(), tuple(sorted(pins, key=lambda each: each.name)))


def python_of(requirements: str | None, progress: Progress = silent) -> Path:
    """The Python a program runs on: ours, or that of an environment of its own, made once.

    Raises:
        EnvironmentFailed: uv can't make it.
    """
    if requirements is None:
        return Path(sys.executable)
    return environment(lock(requirements), progress)
