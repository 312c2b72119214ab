"""A folder that is a project, and the manifest that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from thinkube.model.capture import Capture
from thinkube.model.lock import Lock


@dataclass(frozen=True)
class Manifest:
    """What `thinkube.yaml` says. Written by `bundles`, read by `serving` and `targets`.

    Attributes:
        name: the deployment's name: lower-case letters, digits and hyphens, at most 53.
        entrypoint: `module.path:NAME`, importable with the bundle's folder first on `sys.path`.
        kind: `Agent`, or `Job` for a training function.
        template: which template rendered the project.
        python: `major.minor`.
        requirements: the locked requirements file, relative to the bundle.
        services: Thinkube services the code uses.
        secrets: names of the secrets it reads.
        environment: plain settings the process gets.
        lineage: where it came from: notebook, MLflow run, …
        replicas: how many processes or pods serve it; 0 for as many as now, which is one at first.
        cpu: what each asks for, as Kubernetes writes it: `500m`, `2`; empty for the place's own default.
        memory: what each may use: `512Mi`, `2Gi`; empty for the place's own default.
    """

    name: str
    entrypoint: str
    kind: str
    template: str
    python: str
    requirements: str = "requirements.txt"
    services: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lineage: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    replicas: int = 0
    cpu: str = ""
    memory: str = ""


@dataclass(frozen=True)
class Bundle:
    """A rendered, locked project on disk. The same capture, lock and template give the same digest.

    Attributes:
        path: the folder.
        digest: sha256 over the relative paths and contents of its files.
        manifest: what its `thinkube.yaml` says.
        capture: what it was made from.
        lock: what it runs on.
        verified: whether its entry object was imported in a clean environment made from the lock.
    """

    path: Path
    digest: str
    manifest: Manifest
    capture: Capture = field(repr=False)
    lock: Lock = field(repr=False)
    verified: bool = False
