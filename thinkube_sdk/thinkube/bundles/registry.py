"""Releases: bundles under name and version. Indexed in MLflow where there is one, and written down here."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from thinkube.bundles.exclusive import exclusive
from thinkube.bundles.mlflow_index import MlflowIndex
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.store import Store, uri
from thinkube.model import manifest as manifests
from thinkube.model.bundle import Bundle
from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ConfigurationError, ServiceNotFound, ServiceUnreachable
from thinkube.model.release import Release
from thinkube.model.settings import home

_FORMAT = 1
_NOTHING: Mapping[str, str] = MappingProxyType({})


def register(
    bundle: Bundle,
    name: str | None = None,
    lineage: Mapping[str, str] = _NOTHING,
    *,
    progress: Progress = silent,
) -> Release:
    """Give a bundle the next version of a name. The bundle that is already the latest keeps its version.

    Args:
        name: the deployment's name; the manifest's if not given.
        lineage: where it came from, beside what the manifest says.

    Raises:
        ServiceUnreachable, CredentialRejected: MLflow is known and can't be used; nothing was changed.
        UsageError: MLflow has a model of that name which Thinkube did not register.
    """
    name = name or bundle.manifest.name
    with exclusive(
        _journal(name).with_suffix(".lock"), f"another deploy of {name} is at work; waiting", progress
    ):
        index = index_of(name)
        known = _read(name)
        if index:
            known = _agree(known, index)
        Store().put(bundle)
        if known and known[-1].digest == bundle.digest:
            _write(name, known)
            return known[-1]
        facts = {**bundle.manifest.lineage, **lineage}
        if index:
            progress(f"registering {name} in MLflow")
            release = index.add(bundle.digest, uri(bundle.digest), facts, _tags(bundle.path))
        else:
            version = known[-1].version + 1 if known else 1
            release = Release(name, version, bundle.digest, time.time(), uri(bundle.digest), None, facts)
        _write(name, [*known, release])
        return release


def expected(name: str, digest: str) -> Release:
    """The release that a bundle becomes if it is registered next; nothing is written down."""
    known = releases(name)
    if known and known[-1].digest == digest:
        return known[-1]
    return Release(name, known[-1].version + 1 if known else 1, digest, time.time(), uri(digest))


def releases(name: str) -> list[Release]:
    """Every release of a name, oldest first: those written down here, and what MLflow adds if it answers."""
    known = _read(name)
    index = index_of(name)
    if index is None:
        return known
    try:
        indexed = index.releases()
    except ServiceUnreachable:
        # History and rollback have to work while MLflow is down; what was made here is written down here.
        return known
    return _ordered([*indexed, *_missing(known, indexed)])


def released() -> set[str]:
    """The digests of all bundles that were released from here, under any name."""
    return {release.digest for file in _journal("*").parent.glob("*.json") for release in _read(file.stem)}


def index_of(name: str) -> MlflowIndex | None:
    """The index in MLflow, or None where no MLflow is known."""
    from thinkube.services.discovery import find

    try:
        endpoint: Endpoint = find("mlflow")
    except ServiceNotFound:
        return None
    # A tracking URI such as sqlite:///mlflow.db is a file of this machine, as the journal is.
    return MlflowIndex(endpoint, name) if endpoint.url.startswith(("http://", "https://")) else None


def _agree(known: list[Release], index: MlflowIndex) -> list[Release]:
    """Bring releases that MLflow lacks into it, in order, and take over the numbers it gives them."""
    indexed = index.releases()
    taken = {release.version for release in indexed}
    agreed = list(indexed)
    for release in _missing(known, indexed):
        if release.registry and indexed and release.version not in taken:
            agreed.append(release)  # someone removed it there; here it can still be rolled back to
            continue
        added = index.add(
            release.digest, release.source, release.lineage, _tags(Store().folder / release.digest)
        )
        agreed.append(replace(added, created=release.created))
    return _ordered(agreed)


def _missing(known: list[Release], indexed: list[Release]) -> list[Release]:
    there = {(release.version, release.digest) for release in indexed}
    return [release for release in known if (release.version, release.digest) not in there]


def _ordered(several: list[Release]) -> list[Release]:
    return sorted(several, key=lambda release: (release.version, release.created))


def _tags(bundle: Path) -> dict[str, str]:
    """What MLflow's page shows of a bundle."""
    manifest = manifests.read(bundle)
    return {
        "thinkube.template": manifest.template,
        "thinkube.entrypoint": manifest.entrypoint,
        "thinkube.notebook": manifest.lineage.get("notebook", ""),
        "thinkube.requirements": sha256((bundle / manifest.requirements).read_bytes()).hexdigest(),
    }


def _journal(name: str) -> Path:
    return home() / "releases" / f"{name}.json"


def _read(name: str) -> list[Release]:
    path = _journal(name)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != _FORMAT:
            raise ConfigurationError(
                f"{path} was written by another version of Thinkube (format {document['version']})",
                "Use that version, or move the file away: the numbers then begin anew.",
            )
        return [
            Release(**{**entry, "lineage": MappingProxyType(entry["lineage"])})
            for entry in document["releases"]
        ]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is damaged: {error}", "Move it away: the numbers then begin anew."
        ) from error


def _write(name: str, known: list[Release]) -> None:
    path = _journal(name)
    entries = [
        {**asdict(replace(release, lineage={})), "lineage": dict(release.lineage)} for release in known
    ]
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        json.dump({"version": _FORMAT, "releases": entries}, file, indent=1)
    Path(file.name).replace(path)
