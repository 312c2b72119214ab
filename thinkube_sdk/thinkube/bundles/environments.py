"""Clean Python environments, one for each lock, made with uv once and then shared."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from thinkube.bundles.crossing import PLATFORMS
from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.indexes import uv_environment
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.wheels import last_lines, uv
from thinkube.model import manifest as manifests
from thinkube.model.errors import BundleError, EnvironmentFailed
from thinkube.model.lock import Lock, Pin, Wheel
from thinkube.model.settings import cache

# What uv says of a long step, for a person who waits.
_TELLING = ("Downloading", "Building", "Preparing")


def environment(lock: Lock, progress: Progress = silent) -> Path:
    """The Python executable of the environment a lock describes; made if there is none yet.

    Raises:
        EnvironmentFailed: uv can't make it; gives uv's own reason.
    """
    folder = cache() / "environments" / lock.digest
    python = folder / "bin" / "python"
    # `exists` follows the link: an environment whose base interpreter is gone is made anew.
    if python.exists():
        os.utime(folder)
        return python
    waiting = "another process is making the same environment; waiting for it"
    with exclusive(folder.with_suffix(".lock"), waiting, progress):
        if not python.exists():
            progress(f"making an environment of {len(lock.pins)} distributions (Python {lock.python})")
            _make(lock, folder, progress)
    return python


def install(lock: Lock, folder: Path, progress: Progress = silent) -> None:
    """Put a lock's distributions into a folder, for the system that the lock is for.

    Raises:
        EnvironmentFailed: uv can't; gives uv's own reason.
    """
    if lock.platform not in PLATFORMS:
        raise EnvironmentFailed(
            f"no environment for {lock.platform} can be made", f"Known are {', '.join(PLATFORMS)}."
        )
    with tempfile.TemporaryDirectory(prefix="thinkube-install-") as scratch:
        arguments = ["pip", "install", "--no-deps", "--target", str(folder), "--no-build"]
        arguments += ["--python-version", lock.python, "--python-platform", PLATFORMS[lock.platform]]
        arguments += ["--requirements", str(_write_requirements(lock, Path(scratch)))]
        attempts = [[*arguments, "--offline"], arguments]
        _uv(attempts, f"the locked distributions can't be installed for {lock.platform}", progress)


def read_lock(bundle: Path) -> Lock:
    """The lock of a bundle on disk, for this machine.

    Raises:
        BundleError: its requirements are not the pins that packaging wrote.
    """
    manifest = manifests.read(bundle)
    pins = []
    file = bundle / manifest.requirements
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("./"):
            pins.append(_carried(bundle / line, f"{file}, line {number}"))
        elif line.count("==") == 1:
            name, _, version = line.partition("==")
            pins.append(Pin(name, version))
        else:
            raise BundleError(
                f"{file}, line {number}: {line!r} is neither `name==version` nor `./wheels/file.whl`",
                "Package the agent again: that locks every distribution it runs on.",
            )
    return Lock(manifest.python, this_platform(), tuple(pins))


def _carried(path: Path, place: str) -> Pin:
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        return Pin(name, str(version), Wheel(path.name, path.read_bytes()))
    except (InvalidWheelFilename, OSError) as error:
        raise BundleError(
            f"{place}: there is no wheel {path.name}: {error}",
            "Package the agent again: that carries its wheels.",
        ) from error


def this_platform() -> str:
    """The system and machine, such as `linux-x86_64`."""
    return f"{platform.system().lower()}-{platform.machine().lower()}"


def _make(lock: Lock, folder: Path, progress: Progress) -> None:
    """Make it beside its place and rename it: an interrupted attempt leaves nothing that looks complete."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as name:
        scratch = Path(name)
        made = scratch / "environment"
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        interpreter = sys.executable if lock.python == here else lock.python
        create = ["venv", "--relocatable", "--no-project", "--python", interpreter, str(made)]
        _uv([create], f"no environment of Python {lock.python} can be made", progress)
        install = ["pip", "install", "--no-deps", "--python", str(made / "bin" / "python")]
        install += ["--requirements", str(_write_requirements(lock, scratch))]
        # uv's cache answers without a network, and faster than by asking the index again.
        attempts = [[*install, "--offline"], install]
        _uv(attempts, "the locked distributions can't be installed", progress)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)


def _write_requirements(lock: Lock, folder: Path) -> Path:
    lines = []
    for pin in lock.pins:
        if pin.wheel:
            wheel = folder / pin.wheel.filename
            wheel.write_bytes(pin.wheel.content)
            lines.append(f"{pin.name} @ {wheel.as_uri()}\n")
        else:
            lines.append(f"{pin.name}=={pin.version}\n")
    file = folder / "requirements.txt"
    file.write_text("".join(lines))
    return file


def _uv(attempts: list[list[str]], cause: str, progress: Progress) -> None:
    """Run uv until an attempt succeeds. It runs in the caller's folder, whose project may name indexes."""
    for arguments in attempts:
        output: list[str] = []
        process = subprocess.Popen(
            [uv(), *arguments],
            env=uv_environment(),
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                output.append(line)
                if line.strip().startswith(_TELLING):
                    progress(line.strip())
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        if process.returncode == 0:
            return
    raise EnvironmentFailed(
        f"{cause}; uv says:\n{last_lines(''.join(output))}",
        "A distribution from a private index needs UV_INDEX (and its credential) where this runs; "
        "without a network, run once where there is one.",
    )
