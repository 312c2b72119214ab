"""The images the cluster starts with: its own programs, and Debian's Python as agents' runtime image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from machine import ARGO, BIN, CACHE, REGISTRY, RUN, STATE, sh

REPOSITORIES = "docker/registry/v2/repositories"
SYSTEM = {"system/pause:1": "pause", "system/coredns:1": "coredns", f"argo/argoexec:{ARGO}": "argoexec"}
PYTHON, RUNTIME = "base/python:3.11", "thinkube/runtime:3.11"


def push_missing() -> None:
    """Build and push what the registry lacks, and keep it in the cache for the next cluster."""
    missing = [name for name in (*SYSTEM, PYTHON, RUNTIME) if not _pushed(name)]
    for name in missing:
        if name in SYSTEM:
            _push_program(name, SYSTEM[name])
        else:
            _push_python(name)
    if missing:
        print(f"pushed {', '.join(missing)}", flush=True)
        _link(STATE / "registry", CACHE / "registry")


def restore() -> None:
    """Begin with the images of the cluster before."""
    if (CACHE / "registry").exists() and not (STATE / "registry").exists():
        _link(CACHE / "registry", STATE / "registry")


def _link(source: Path, target: Path) -> None:
    """A copy of a registry's folder by hard links: it never writes a blob twice."""
    scratch = target.with_name(f".{target.name}")
    for folder in (scratch, target):
        shutil.rmtree(folder, ignore_errors=True)
    same_disk = source.stat().st_dev == target.parent.stat().st_dev
    sh("cp", "-al" if same_disk else "-a", source, scratch)
    shutil.rmtree(scratch / REPOSITORIES / "_uploads", ignore_errors=True)
    scratch.rename(target)


def _pushed(name: str) -> bool:
    repository, _, tag = name.partition(":")
    return (STATE / "registry" / REPOSITORIES / repository / "_manifests" / "tags" / tag).exists()


def _buildah(*args: object) -> str:
    store = ("--root", STATE / "buildah", "--runroot", RUN / "buildah", "--storage-driver", "overlay")
    return sh("buildah", *store, *args).strip()


def _push(box: str, name: str) -> None:
    """Commit a working container straight into the registry."""
    _buildah("commit", "--rm", "--tls-verify=false", box, f"docker://{REGISTRY}/{name}")


def _push_program(name: str, program: str) -> None:
    box = _buildah("from", "scratch")
    place = "/bin" if program == "argoexec" else ""
    _buildah("copy", box, BIN / program, f"{place}/{program}")
    entry = [] if program == "argoexec" else ["--entrypoint", json.dumps([f"/{program}"])]
    _buildah("config", *entry, "--env", "PATH=/bin", box)
    _push(box, name)


def _push_python(name: str) -> None:
    root = CACHE / "debian"
    if not (root / "usr/bin/python3").exists():
        print("making a Debian root with Python", flush=True)
        scratch = CACHE / "debian-making"
        shutil.rmtree(scratch, ignore_errors=True)
        mirrors = sh("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
        mirror = next(each for each in mirrors if "security" not in each)
        packages = "--include=python3,python3-venv,ca-certificates"
        sh("debootstrap", "--variant=minbase", packages, "bookworm", scratch, mirror)
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(scratch / waste, ignore_errors=True)
        scratch.rename(root)
    box = _buildah("from", "scratch")
    _buildah("copy", box, root, "/")
    path = "PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin"
    labels = ["--label", "io.thinkube.python=/usr/bin/python3.11", "--user", "65532:65532"]
    _buildah("config", "--cmd", "python3", "--env", path, *(labels if name == RUNTIME else []), box)
    _push(box, name)
