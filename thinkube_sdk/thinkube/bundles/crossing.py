"""A lock for another system than the one it was made on, changed as little as possible and visibly."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from thinkube.bundles.indexes import uv_environment
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.wheels import last_lines, uv
from thinkube.model.errors import BundleError, UsageError
from thinkube.model.lock import Lock, Pin

# How uv calls the systems that locks name. Images of the hierarchy have a glibc of 2.28 or later.
PLATFORMS = {
    "linux-x86_64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_28",
    "darwin-arm64": "aarch64-apple-darwin",
    "darwin-x86_64": "x86_64-apple-darwin",
}
_NEVER = "; python_version < '0'"


def for_platform(lock: Lock, platform: str, progress: Progress = silent) -> Lock:
    """The lock as it has to be on `platform`: every pin that exists there stays, with what only it needs.

    Args:
        lock: made by `thinkube.bundles.lock` on this machine.
        platform: such as `linux-x86_64`.

    Returns:
        The lock itself where nothing has to be changed; otherwise one whose notes name each change.

    Raises:
        UsageError: the platform is none that is known.
        BundleError: a pin has no wheel there, or a carried wheel was built for this system.
    """
    if platform == lock.platform:
        return lock
    if platform not in PLATFORMS:
        raise UsageError(f"there is no platform {platform!r}", f"Known are: {', '.join(PLATFORMS)}.")
    _check_wheels(lock, platform)
    progress(f"looking for what {platform} needs in place of {lock.platform}")
    found = _compile(lock, platform)
    known = {pin.name: pin for pin in lock.pins}
    pins = tuple(
        known[name] if name in known and known[name].version == version else Pin(name, version)
        for name, version in sorted(found.items())
    )
    notes = [f"{name} is for {lock.platform} alone: left out" for name in known if name not in found]
    notes += [
        f"{pin.name} {pin.version} is added: {platform} needs it" for pin in pins if pin.name not in known
    ]
    notes += [
        f"{pin.name} is {pin.version} there in place of {known[pin.name].version}"
        for pin in pins
        if pin.name in known and pin.version != known[pin.name].version
    ]
    return replace(lock, platform=platform, pins=pins, notes=(*lock.notes, *notes))


def _check_wheels(lock: Lock, platform: str) -> None:
    for pin in lock.pins:
        if pin.wheel is None:
            continue
        tags = parse_wheel_filename(pin.wheel.filename)[3]
        if not any(tag.platform == "any" for tag in tags):
            raise BundleError(
                f"{pin.name} {pin.version} ({pin.wheel.reason}) is compiled for {lock.platform} alone",
                f"Publish it to an index with a wheel for {platform}, or package on {platform}.",
            )


def _compile(lock: Lock, platform: str) -> dict[str, str]:
    """Let uv close the roots over the other system's requirements, with all our pins as constraints."""
    with tempfile.TemporaryDirectory(prefix="thinkube-lock-") as name:
        folder = Path(name)
        carried = {pin.name: pin.wheel for pin in lock.pins if pin.wheel}
        extras: dict[str, list[str]] = {
            canonicalize_name(requirement.name): sorted(requirement.extras)
            for requirement in map(Requirement, lock.roots)
        }
        wanted = [root for root in lock.roots if canonicalize_name(Requirement(root).name) not in carried]
        for distribution, wheel in carried.items():
            (folder / wheel.filename).write_bytes(wheel.content)
            options = f"[{','.join(extras[distribution])}]" if extras.get(distribution) else ""
            wanted.append(f"{distribution}{options} @ {(folder / wheel.filename).as_uri()}")
        # A local version (2.9.0+cpu) belongs to one system's index; its public version holds everywhere.
        pinned = [f"{pin.name}=={Version(pin.version).public}" for pin in lock.pins if not pin.wheel]
        files = {
            "wanted.txt": wanted,
            "pinned.txt": pinned,
            "absent.txt": [f"{distribution} {_NEVER}" for distribution in lock.absent],
        }
        for file, lines in files.items():
            (folder / file).write_text("".join(f"{line}\n" for line in lines))
        command = [uv(), "pip", "compile", str(folder / "wanted.txt")]
        command += ["--constraints", str(folder / "pinned.txt"), "--overrides", str(folder / "absent.txt")]
        command += ["--python-platform", PLATFORMS[platform], "--python-version", lock.python]
        command += ["--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"]
        for attempt in ([*command, "--offline"], command):
            done = subprocess.run(attempt, env=uv_environment(), capture_output=True, text=True)
            if done.returncode == 0:
                return _read(done.stdout, lock)
    raise BundleError(
        f"not every locked distribution is to be had for {platform}; uv says:\n{last_lines(done.stderr)}",
        f"Install a version here that has a wheel for {platform}, or package on {platform}.",
    )


def _read(text: str, lock: Lock) -> dict[str, str]:
    carried = {pin.name: pin.version for pin in lock.pins if pin.wheel}
    found: dict[str, str] = {}
    for line in text.splitlines():
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        found[name] = carried.get(name) or next(iter(requirement.specifier)).version
    return found
