"""The Python that training runs on: this one where it has Unsloth, else an environment made for it once."""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from thinkube.bundles.environments import environment, this_platform
from thinkube.bundles.progress import Progress, silent
from thinkube.model.errors import ConfigurationError
from thinkube.model.lock import Lock, Pin

_DISTRIBUTION = "thinkube-sdk"


def training_python(progress: Progress = silent) -> Path:
    """Its executable.

    Raises:
        EnvironmentFailed: uv can't make it. It takes about 5 GB, as torch comes with CUDA.
    """
    if all(find_spec(module) for module in ("unsloth", "trl", "peft")):
        return Path(sys.executable)
    return environment(training_lock(), progress)


def training_lock() -> Lock:
    """What training runs on, on this machine."""
    pins = []
    for line in _requirements().read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        requirement = Requirement(text) if text else None
        if requirement and (requirement.marker is None or requirement.marker.evaluate()):
            (pin,) = requirement.specifier
            pins.append(Pin(requirement.name, pin.version))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Lock(python, this_platform(), tuple(sorted(pins, key=lambda pin: pin.name)))


def lay_out_sdk(folder: Path) -> None:
    """Make a folder that gives a Python this SDK and nothing else of ours, entry points included."""
    folder.mkdir(parents=True, exist_ok=True)
    package = Path(__file__).resolve().parents[1]
    _link(folder / package.name, package)
    distribution = importlib.metadata.distribution(_DISTRIBUTION)
    metadata = folder / f"{_DISTRIBUTION.replace('-', '_')}-{distribution.version}.dist-info"
    metadata.mkdir(exist_ok=True)
    for name in ("METADATA", "entry_points.txt"):
        (metadata / name).write_text(distribution.read_text(name) or "", encoding="utf-8")


def _requirements() -> Path:
    package = Path(__file__).resolve().parents[1]
    # In the wheel, or in the checkout of an editable installation.
    places = (package / "training" / "requirements.txt", package.parents[1] / "requirements" / "training.txt")
    for place in places:
        if place.is_file():
            return place
    raise ConfigurationError(f"{places[0]} is missing.", "Install thinkube-sdk again.")


def _link(link: Path, to: Path) -> None:
    if link.is_symlink():
        link.unlink()
    link.symlink_to(to, target_is_directory=True)
