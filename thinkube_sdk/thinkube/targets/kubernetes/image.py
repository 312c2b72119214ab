"""A release as an image, without a builder: the runtime image's layers by reference, and two of our own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkube.bundles.crossing import for_platform
from thinkube.bundles.environments import read_lock
from thinkube.bundles.progress import Progress
from thinkube.model.errors import ConfigurationError, DeploymentError
from thinkube.model.manifest import FILE, read
from thinkube.targets.kubernetes import layers
from thinkube.targets.kubernetes.reference import Reference, parse
from thinkube.targets.kubernetes.registry import INDEX, MANIFEST, Registry, Stored

CONFIGURATION = "application/vnd.oci.image.config.v1+json"
PYTHON_LABEL = "io.thinkube.python"  # of a runtime image: the path of its interpreter
MANIFEST_LABEL = "io.thinkube.manifest"
USER = "65532:65532"
PORT = 8080
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_DATE = "1980-01-01T00:00:00Z"


@dataclass(frozen=True)
class Base:
    """A runtime image: what ours begin with."""

    image: Reference
    manifest: dict[str, Any]
    configuration: dict[str, Any]

    @property
    def platform(self) -> str:
        """As locks name it."""
        architecture = self.configuration["architecture"]
        return f"{self.configuration['os']}-{_MACHINES.get(architecture, architecture)}"

    def python(self, version: str) -> str:
        """The path of its interpreter, by its label; official Python images are known by their setting.

        Raises:
            ConfigurationError: it has another version of Python.
        """
        inner = self.configuration.get("config") or {}
        official = dict(each.split("=", 1) for each in inner.get("Env") or []).get("PYTHON_VERSION")
        path = (inner.get("Labels") or {}).get(PYTHON_LABEL) or (
            f"/usr/local/bin/python{'.'.join(official.split('.')[:2])}" if official else ""
        )
        if not path.endswith(f"python{version}"):
            raise ConfigurationError(
                f"The runtime image {self.image} has {path or 'no Python that it names'}, "
                f"and the release runs on Python {version}.",
                'Name one for each version, as in runtime = "host/path:{python}"; '
                f"an image's label {PYTHON_LABEL} says where its Python is.",
            )
        return path


def push(
    bundle: Path, place: Reference, runtime: str, progress: Progress, *, dry_run: bool = False
) -> Reference:
    """Make a bundle's image and bring it to the registry. The same bundle and base give the same digest.

    Args:
        place: where it goes, with the tag.
        runtime: the runtime image; `{python}` stands for the bundle's Python version.
        dry_run: only find out what its digest is.

    Returns:
        The image by its digest.

    Raises:
        ConfigurationError: the runtime image does not fit.
        ServiceUnreachable, CredentialRejected: a registry can't be used.
        BundleError: the lock has no counterpart on the image's platform.
    """
    manifest = read(bundle)
    base = _base(parse(runtime.replace("{python}", manifest.python)), progress)
    lock = for_platform(read_lock(bundle), base.platform, progress)
    environment, packed = layers.environment_layer(lock, base.python(manifest.python), progress)
    own, content = layers.bundle_layer(bundle)
    configuration = _configuration(base, (environment, own), (bundle / FILE).read_text(encoding="utf-8"))
    described = _described(base, configuration, (environment, own))
    image = replace(place, digest=_digest(described))
    if dry_run:
        return image
    with Registry(place.host) as registry:
        if registry.manifest(image) is None:
            progress(f"pushing {place}")
            _bring_base(base, registry, place.repository)
            registry.push(place.repository, environment.digest, packed)
            registry.push(place.repository, own.digest, content)
            registry.push(place.repository, _digest(configuration), configuration)
            registry.push_manifest(place, described)
    return image


def _base(image: Reference, progress: Progress) -> Base:
    with Registry(image.host) as registry:
        stored = registry.manifest(image)
        if stored is None:
            raise ConfigurationError(
                f"There is no runtime image {image}.",
                "Push it there, or name another one as `runtime` of the context.",
            )
        if "manifests" in stored.content:
            stored = _of_platform(registry, image, stored, progress)
        configuration = json.loads(registry.blob(image.repository, stored.content["config"]["digest"]))
    return Base(image, stored.content, configuration)


def _of_platform(registry: Registry, image: Reference, index: Stored, progress: Progress) -> Stored:
    """Of an image for several machines the one for amd64, the usual one; else its only one for Linux."""
    known = [each for each in index.content["manifests"] if each.get("platform", {}).get("os") == "linux"]
    known.sort(key=lambda each: each["platform"].get("architecture") != "amd64")
    chosen = registry.manifest(replace(image, digest=known[0]["digest"])) if known else None
    if chosen is None:
        raise ConfigurationError(f"{image} has no image for Linux ({INDEX}).", "Name another `runtime`.")
    if len(known) > 1:
        progress(f"of {image}, the image for linux-{known[0]['platform']['architecture']} is taken")
    return chosen


def _configuration(base: Base, own: tuple[layers.Layer, ...], manifest: str) -> bytes:
    inner = dict(base.configuration.get("config") or {})
    variables = dict(each.split("=", 1) for each in inner.get("Env") or [])
    path = variables.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    variables |= {
        "PATH": f"/{layers.ENVIRONMENT}/bin:{path}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    inner |= {
        "User": USER,
        "WorkingDir": f"/{layers.APP}",
        "Env": [f"{name}={value}" for name, value in sorted(variables.items())],
        "Entrypoint": [f"/{layers.ENVIRONMENT}/bin/python", "-P", "-m", "thinkube.serving",
                       "--bundle", f"/{layers.APP}", "--host", "0.0.0.0", "--port", str(PORT)],
        "Cmd": [],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Labels": {**(inner.get("Labels") or {}), MANIFEST_LABEL: manifest},
    }  # fmt: skip
    said = ("the environment", "the bundle")
    added = [{"created": _DATE, "created_by": f"thinkube: {each}"} for each in said]
    described = {
        **base.configuration,
        "created": _DATE,
        "config": inner,
        "rootfs": {
            "type": "layers",
            "diff_ids": [*base.configuration["rootfs"]["diff_ids"], *(each.content for each in own)],
        },
        "history": [*(base.configuration.get("history") or []), *added],
    }
    return _bytes(described)


def _described(base: Base, configuration: bytes, own: tuple[layers.Layer, ...]) -> bytes:
    """The image's manifest: what it consists of, by digest."""
    added = [{"mediaType": layers.KIND, "digest": each.digest, "size": each.size} for each in own]
    inherited = [{**each, "mediaType": _kind(each["mediaType"])} for each in base.manifest["layers"]]
    return _bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": CONFIGURATION,
                "digest": _digest(configuration),
                "size": len(configuration),
            },
            "layers": [*inherited, *added],
            "annotations": {"org.opencontainers.image.base.name": str(base.image)},
        }
    )


def _kind(docker: str) -> str:
    """Docker's word for a layer in OCI's."""
    known = {"application/vnd.docker.image.rootfs.diff.tar.gzip": layers.KIND}
    return known.get(docker, docker)


def _bring_base(base: Base, registry: Registry, repository: str) -> None:
    """Layers of the same registry are only named; those of another are copied, once."""
    for layer in base.manifest["layers"]:
        digest = layer["digest"]
        if registry.has(repository, digest):
            continue
        same = base.image.host == registry.host
        if same and registry.mount(repository, digest, base.image.repository):
            continue
        with Registry(base.image.host) as source:
            content = b"".join(source.pieces(base.image.repository, digest))
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise DeploymentError(f"A layer of {base.image} came damaged from its registry.", "Try again.")
        registry.push(repository, digest, content)


def _bytes(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
