"""Compiles what the cluster runs, from Go modules, into the cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from machine import ARGO, BIN, CACHE, CONFIG, filled, sh

ARGO_MODULE = "github.com/argoproj/argo-workflows/v3"
DEBIAN = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
}
CNI = Path("/usr/lib/cni/bridge")


def install() -> None:
    """The Debian packages that are missing."""
    missing = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    missing += [] if CNI.exists() else ["containernetworking-plugins"]
    if not shutil.which("go"):
        sys.exit(
            "Go is missing: install Go 1.24 or later, which fetches the version that each program asks for"
        )
    if missing:
        print(f"installing {' '.join(missing)}", flush=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        sh("apt-get", "update", "-q", env=env)
        sh("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=env)


def build() -> None:
    """Compile the programs that are missing: 17 minutes on two cores the first time."""
    BIN.mkdir(parents=True, exist_ok=True)
    for name, package, version in (line.split() for line in filled("programs").splitlines()):
        if not (BIN / name).exists():
            begin = time.monotonic()
            if package.startswith(ARGO_MODULE):
                _argo(name, package)
            else:
                _compile(_module(package, version), name, package, version)
            print(f"built {name} in {time.monotonic() - begin:.0f} s", flush=True)
    if not (BIN / "pause").exists():
        sh("go", "build", "-ldflags=-s -w", "-o", BIN / "pause", CONFIG / "pause.go", env=_environment())


def argo_manifests() -> Path:
    """Argo's custom resource definitions, out of its module."""
    return CACHE / "modules" / "argo-source" / "manifests" / "base" / "crds" / "minimal"


def _environment() -> dict[str, str]:
    # Without CGO_ENABLED=0 a program dies in an image from scratch: it looks for the C library.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}


def _module(package: str, version: str) -> Path:
    """A module of our own, where the package's own local `replace` lines do not count."""
    folder = CACHE / "modules" / package.split("/cmd/")[0].replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "go.mod").exists():
        sh("go", "mod", "init", "tools", cwd=folder)
        if package.startswith("k8s.io/kubernetes/"):
            _replace_staging(folder, version)
    sh("go", "get", f"{package}@{version}", cwd=folder, env=_environment())
    return folder


def _compile(folder: Path, name: str, package: str, version: str) -> None:
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion={version}"  # clients read this
    made = BIN / f".{name}"
    sh("go", "build", "-trimpath", "-ldflags", flags, "-o", made, package, cwd=folder, env=_environment())
    made.rename(BIN / name)


def _replace_staging(folder: Path, version: str) -> None:
    """k8s.io/kubernetes points to its libraries at ./staging, which its module zip lacks."""
    module = json.loads(sh("go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}", cwd=folder))
    for library in re.findall(r"(\S+) => \./staging", Path(module["GoMod"]).read_text()):
        sh("go", "mod", "edit", f"-replace={library}={library}@v0{version.removeprefix('v1')}", cwd=folder)


def _argo(name: str, package: str) -> None:
    """Argo's module lacks a file that it needs on Linux: it is built from a copy that has it."""
    source = CACHE / "modules" / "argo-source"
    folder = CACHE / "modules" / "argo"
    if not (folder / "go.sum").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go.mod").write_text("module tools\n")
        sh("go", "get", f"{ARGO_MODULE}@{ARGO}", cwd=folder, env=_environment())
    if not source.exists():
        own = json.loads(sh("go", "mod", "download", "-json", f"{ARGO_MODULE}@{ARGO}", cwd=folder))
        scratch = source.with_name("argo-copying")
        shutil.rmtree(scratch, ignore_errors=True)
        sh("cp", "-r", "--no-preserve=mode", own["Dir"], scratch)
        missing = Path(__file__).with_name("argo") / "signal_linux.go"
        shutil.copy(missing, scratch / "workflow" / "executor" / "osspecific")
        scratch.rename(source)
    sh("go", "mod", "edit", f"-replace={ARGO_MODULE}={source}", cwd=folder)
    _compile(folder, name, package, ARGO)
