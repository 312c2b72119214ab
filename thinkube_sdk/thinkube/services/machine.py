"""Checks of the machine: Python, proxy variables, disk, GPU."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thinkube.model.settings import cache, home

Verdict = Literal["ok", "note", "problem"]

PYTHONS = ((3, 11), (3, 14))
# The environments of the stack and of deployed agents take 2 GB, one with torch for CUDA 5 GB.
_NEEDED, _COMFORTABLE = 2 * 1024**3, 10 * 1024**3
# The oldest driver that runs CUDA 13, which `requirements/training.txt` pins.
# https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/
_DRIVER = 580
_HINTS = {
    "version mismatch": "The driver was updated under a loaded kernel module: restart this machine.",
    "couldn't communicate": "Load its kernel module: `sudo modprobe nvidia`, else install the driver again.",
    "no devices": "The driver runs and sees no GPU: check that this container or machine was given one.",
}


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    Attributes:
        check: its name.
        verdict: `problem` when something will not work; `note` when it is worth knowing.
        cause: what was seen, in words.
        fix: what to do about it, as an instruction.
    """

    check: str
    verdict: Verdict
    cause: str
    fix: str = ""


def python() -> list[Finding]:
    """A Python that Thinkube supports, and the one that the shell activated."""
    findings = []
    lowest, beyond = PYTHONS
    here = ".".join(map(str, sys.version_info[:3]))
    if not lowest <= sys.version_info[:2] < beyond:
        findings.append(
            Finding(
                "python",
                "problem",
                f"{sys.executable} is Python {here}; Thinkube runs on 3.{lowest[1]} to 3.{beyond[1] - 1}.",
                f"Make an environment with one of these: uv venv --python 3.{beyond[1] - 2}",
            )
        )
    activated = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if activated and Path(activated).resolve() != Path(sys.prefix).resolve():
        findings.append(
            Finding(
                "python",
                "problem",
                f"This is the Python of {sys.prefix}, while {activated} is activated: packages installed "
                "there are not seen here, and the other way round.",
                f"Install Thinkube into {activated}, or activate {sys.prefix}; in Jupyter choose its kernel.",
            )
        )
    return findings or [Finding("python", "ok", f"Python {here} in {sys.prefix}.")]


def proxy() -> list[Finding]:
    """Proxy variables leave requests to this machine alone."""
    proxies = urllib.request.getproxies_environment()
    chosen = sorted(set(proxies) & {"http", "https", "all"})
    caught = [host for host in ("127.0.0.1", "localhost") if not _bypassed(host, proxies)]
    if not chosen or not caught:
        return [Finding("proxy", "ok", "No proxy stands before the services of this machine.")]
    names = ", ".join(f"{scheme.upper()}_PROXY" for scheme in chosen)
    before = proxies.get("no")
    whole = ",".join(filter(None, [before, "127.0.0.1", "localhost"]))
    return [
        Finding(
            "proxy",
            "problem",
            f"{names} is set and NO_PROXY leaves out {' and '.join(caught)}: clients ask the proxy for "
            "services of this machine, which it can't reach.",
            f"export NO_PROXY={whole}",
        )
    ]


def _bypassed(host: str, proxies: dict[str, str]) -> bool:
    return bool(urllib.request.proxy_bypass_environment(host, proxies))  # type: ignore[attr-defined]


def disk(needed: int = _NEEDED) -> list[Finding]:
    """Room and the right to write, for what must stay and for what can be made again."""
    findings = []
    for folder, what in ((home(), "data"), (cache(), "environments")):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            findings.append(
                Finding(
                    "disk",
                    "problem",
                    f"{folder} for {what} can't be written: {error.strerror}.",
                    "Give yourself the right to write there, or set "
                    f"{'THINKUBE_HOME' if what == 'data' else 'THINKUBE_CACHE'} to another folder.",
                )
            )
            continue
        free = shutil.disk_usage(there).free
        if free < max(needed, _COMFORTABLE):
            findings.append(
                Finding(
                    "disk",
                    "problem" if free < needed else "note",
                    f"{free / 1024**3:.1f} GB are free for {what} in {folder}; the stack takes 2 GB, an "
                    "environment for training 5 GB.",
                    "Free some with `thinkube gc`, or set THINKUBE_HOME and THINKUBE_CACHE to a larger disk.",
                )
            )
    return findings or [Finding("disk", "ok", f"{shutil.disk_usage(there).free / 1024**3:.0f} GB are free.")]


def gpu() -> list[Finding]:
    """A GPU, with a driver that works and is new enough."""
    program = shutil.which("nvidia-smi")
    devices = [device for device in Path("/dev").glob("nvidia[0-9]*") if device.exists()]
    if program is None:
        if devices:
            return [
                Finding(
                    "gpu",
                    "problem",
                    f"{devices[0]} is there and the driver's programs are not.",
                    "Install the driver's programs (nvidia-utils), or have the container given them.",
                )
            ]
        return [
            Finding(
                "gpu", "note", "There is no NVIDIA GPU: training runs on the processor, many times slower."
            )
        ]
    command = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding("gpu", "problem", f"nvidia-smi does not answer: {error}.", "Restart this machine.")]
    said = (asked.stdout + asked.stderr).strip()
    if asked.returncode:
        hint = next(
            (fix for word, fix in _HINTS.items() if word in said.lower()), "Install the driver again."
        )
        return [Finding("gpu", "problem", f"The GPU's driver does not work: {said}", hint)]
    return [_driver(line) for line in asked.stdout.splitlines() if line.strip()]


def _driver(line: str) -> Finding:
    name, driver, memory = (part.strip() for part in (*line.split(","), "", "")[:3])
    major = driver.partition(".")[0]
    if major.isdigit() and int(major) < _DRIVER:
        return Finding(
            "gpu",
            "problem",
            f"The driver of {name} is version {driver}; training uses CUDA 13, which needs {_DRIVER}.",
            f"Update the driver to version {_DRIVER} or later. Until then training runs on the processor.",
        )
    return Finding("gpu", "ok", f"{name}, {memory}, driver {driver}.")


def listens(host: str, port: int) -> bool:
    """Whether a program listens there."""
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True
