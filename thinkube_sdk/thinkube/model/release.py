"""A bundle under a name and a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Release:
    """One version of one deployment's code.

    Attributes:
        name: the deployment's name.
        version: 1 for the first, counted up by the registry.
        digest: the bundle's digest: the key in the content store.
        created: seconds since the epoch.
        source: URI of the bundle in the content store.
        registry: where the version is registered (the registry's URL), or None if it is only known here.
        lineage: notebook, run, dataset, base model.
    """

    name: str
    version: int
    digest: str
    created: float
    source: str
    registry: str | None = None
    lineage: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
