"""What a deployment on a cluster consists of, as one value: its objects are rendered from it alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from thinkube.model.errors import ConfigurationError
from thinkube.model.release import Release

VERSION = 1
ANNOTATION = "thinkube.io/plan"

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Egress:
    """Somewhere that an agent's pods may connect to: a Service's pods, or addresses.

    Attributes:
        port: the TCP port there.
        namespace: of the pods; empty where `block` says where.
        pods: their labels.
        block: addresses, such as `10.1.2.3/32`.
        beside: addresses within the block that are left out.
        what: the service that is meant, for people.
    """

    port: int
    namespace: str = ""
    pods: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    block: str = ""
    beside: tuple[str, ...] = ()
    what: str = ""


@dataclass(frozen=True)
class Route:
    """The name under which an agent is reached from outside.

    Attributes:
        host: the name.
        gateway: as `namespace/name`; empty for an Ingress.
    """

    host: str
    gateway: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that a deployment's objects say. No secret's value is in it.

    Attributes:
        name: of the deployment, and of its objects.
        namespace: where it runs.
        image: by its digest.
        release: what the image is.
        owner: who deployed it.
        settings: plain variables.
        secret: the Secret that its variables `secrets` come from.
        secrets: names of variables, each a key of the Secret.
        egress: where it may connect to.
        timeout: seconds it may take until it is ready.
        replicas: how many pods; the least, where `most` is more.
        most: pods that the autoscaler may start; 0 for no autoscaler.
        cpu, memory: what a pod asks for; memory is its limit too.
        pull_secret: the Secret that nodes pull the image with.
        route: how it is reached from outside, if at all.
    """

    name: str
    namespace: str
    image: str
    release: Release
    owner: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    secret: str = ""
    secrets: tuple[str, ...] = ()
    egress: tuple[Egress, ...] = ()
    timeout: float = 120.0
    replicas: int = 1
    most: int = 0
    cpu: str = "100m"
    memory: str = "512Mi"
    pull_secret: str = ""
    route: Route | None = None

    def released(self, release: Release) -> Plan:
        """The same as another release."""
        return replace(self, release=release)


def write(plan: Plan) -> str:
    """A plan as text, for the annotation of its Deployment."""
    egress = [{**asdict(replace(each, pods={})), "pods": dict(each.pods)} for each in plan.egress]
    lineage = dict(plan.release.lineage)
    document: dict[str, Any] = {
        **asdict(replace(plan, release=replace(plan.release, lineage={}), settings={}, egress=())),
        "settings": dict(plan.settings),
        "egress": egress,
    }
    document["release"]["lineage"] = lineage
    return json.dumps({"version": VERSION, **document}, sort_keys=True, default=dict)


def read(text: str, place: str) -> Plan:
    """A plan from its text.

    Raises:
        ConfigurationError: another version of Thinkube wrote it, or someone changed it.
    """
    try:
        given = json.loads(text)
        if given.pop("version") != VERSION:
            raise ConfigurationError(
                f"{place} was deployed by another version of Thinkube.", "Use that version, or deploy anew."
            )
        release = Release(**{**given["release"], "lineage": MappingProxyType(given["release"]["lineage"])})
        egress = tuple(
            Egress(**{**each, "pods": MappingProxyType(each["pods"]), "beside": tuple(each["beside"])})
            for each in given["egress"]
        )
        changes = {
            "release": release,
            "egress": egress,
            "settings": MappingProxyType(given["settings"]),
            "secrets": tuple(given["secrets"]),
            "route": Route(**given["route"]) if given["route"] else None,
        }
        return Plan(**{**given, **changes})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"The annotation {ANNOTATION} of {place} is damaged: {error}", "Deploy it anew."
        ) from error
