"""Environments: one for a lock, made once, whoever asks and however often."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from thinkube.bundles.environments import environment, read_lock, this_platform
from thinkube.bundles.lock import lock
from thinkube.bundles.package import package
from thinkube.errors import BundleError, EnvironmentFailed
from thinkube.model.capture import Capture
from thinkube.model.lock import Lock, Pin

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def small(*pins: Pin) -> Lock:
    return Lock(HERE, this_platform(), pins)


def test_the_environment_holds_the_pins_and_nothing_else(make: Callable[..., Capture], cache: Path) -> None:
    locked = lock(make("import yaml\n\n\ndef agent(q: str) -> str:\n    return q\n"))
    python = environment(locked)
    assert python.is_relative_to(cache)
    code = (
        "from importlib.metadata import distributions as d; print(*[x.name + '==' + x.version for x in d()])"
    )
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.lower().replace("_", "-").replace(".", "-") for name in found} == {
        f"{pin.name}=={pin.version}".replace(".", "-") for pin in locked.pins
    }


def test_two_makers_at_once_make_one(cache: Path) -> None:
    import yaml

    locked = small(Pin("pyyaml", yaml.__version__))
    said: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        pythons = set(pool.map(lambda _: environment(locked, said.append), range(4)))
    assert len(pythons) == 1
    assert sum(message.startswith("making") for message in said) == 1
    names = {entry.name for entry in (cache / "environments").iterdir()}
    assert names == {locked.digest, f"{locked.digest}.lock"}


@pytest.mark.usefixtures("cache")
def test_an_environment_without_its_interpreter_is_made_again() -> None:
    import yaml

    locked = small(Pin("pyyaml", yaml.__version__))
    python = environment(locked)
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert environment(locked) == python
    subprocess.run([python, "-c", "import yaml"], check=True)


def test_a_pin_no_index_has_is_refused_with_uvs_reason(cache: Path) -> None:
    locked = small(Pin("pyyaml", "0.0.999"))
    with pytest.raises(EnvironmentFailed) as refusal:
        environment(locked)
    assert "pyyaml==0.0.999" in refusal.value.cause
    assert not (cache / "environments" / locked.digest).exists()
    assert not list((cache / "environments").glob(".making-*"))


def test_a_bundles_lock_is_read_back(make: Callable[..., Capture]) -> None:
    bundle = package(make(), verify=False)
    assert read_lock(bundle.path).digest == bundle.lock.digest


def test_requirements_that_are_no_lock_are_refused(make: Callable[..., Capture], tmp_path: Path) -> None:
    bundle = package(make(), out=tmp_path / "out", verify=False)
    (bundle.path / "requirements.txt").write_text("langgraph>=1\n")
    with pytest.raises(BundleError, match="line 1"):
        read_lock(bundle.path)
    for wheel in ("./wheels/nothing-1.0-py3-none-any.whl", "./wheels/no-wheel.zip"):
        (bundle.path / "requirements.txt").write_text(f"{wheel}\n")
        with pytest.raises(BundleError, match="there is no wheel"):
            read_lock(bundle.path)
