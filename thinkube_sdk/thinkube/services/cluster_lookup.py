"""A service in a live cluster: labelled Services and described ConfigMaps, one list call a kind."""

from __future__ import annotations

import time
from dataclasses import dataclass

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import AccessDenied, ClientMissing, ClusterError, ConfigurationError
from thinkube.services import cluster
from thinkube.services.contexts import IN_CLUSTER, Context
from thinkube.services.kubernetes_api import KubernetesApi, Object, connect
from thinkube.services.table import Service

KEEP_SECONDS = 60.0


@dataclass(frozen=True)
class Listing:
    """What a cluster's API listed.

    Attributes:
        config_maps, services: as it gave them.
        hints: what it refused, for people.
        time: by the monotonic clock.
    """

    config_maps: tuple[Object, ...]
    services: tuple[Object, ...]
    hints: tuple[str, ...]
    time: float


_kept: dict[tuple[str, str], Listing] = {}


def look_up(entry: Service, context: Context, looked: list[str], *, pods: bool = False) -> Endpoint | None:
    """A service of a context's cluster, or None; then `looked` says why.

    Args:
        pods: as pods reach it, and not this process.
    """
    place = f"the cluster of the context {context.name}"
    try:
        api = connect(context)
        listing = _listing(api)
        described = [each for each in listing.config_maps if cluster.service_of(each) == entry.name]
        secrets = _secrets(api, described)
    except (ClusterError, ClientMissing, ConfigurationError) as error:
        looked.append(f"{place} ({error.cause} {error.fix})")
        return None
    inside = pods or context.name == IN_CLUSTER
    found = cluster.read(described, listing.services, secrets, cluster=place, inside=inside)
    if endpoint := found.endpoints.get(entry.name):
        return endpoint
    labelled = [each for each in listing.services if cluster.service_named(each) == entry.name]
    if labelled and not inside:
        from thinkube.services.port_forward import forwarded

        return forwarded(api, entry, labelled[0], place)
    reasons = [*found.problems.values(), *listing.hints] or [f"names no {entry.title}"]
    looked.append(f"{place} ({'; '.join(reasons)})")
    return None


def forget() -> None:
    """List anew at the next look."""
    _kept.clear()


def _listing(api: KubernetesApi) -> Listing:
    key = (api.server, api.namespace)
    kept = _kept.get(key)
    if kept is not None and time.monotonic() - kept.time < KEEP_SECONDS:
        return kept
    hints: list[str] = []
    config_maps = _listed(api, "ConfigMap", {"fields": f"metadata.name={cluster.CONFIG_MAP}"}, hints)
    services = _listed(api, "Service", {"labels": f"{cluster.MANAGED}=true"}, hints)
    listing = Listing(tuple(config_maps), tuple(services), tuple(hints), time.monotonic())
    _kept[key] = listing
    return listing


def _listed(api: KubernetesApi, kind: str, chosen: dict[str, str], hints: list[str]) -> list[Object]:
    """Those of all namespaces; where that is forbidden, those of one's own."""
    try:
        return api.list(kind, "*", **chosen)
    except AccessDenied:
        hint = f"listing every {kind} is forbidden to this account"
    try:
        found = api.list(kind, **chosen)
        hints.append(f"{hint}, so that only the namespace {api.namespace} was looked at")
        return found
    except AccessDenied as error:
        hints.append(f"{hint}: {error.cause} {error.fix}")
        return []


def _secrets(api: KubernetesApi, config_maps: list[Object]) -> list[Object]:
    """The Secrets that these ConfigMaps name, as far as they may be read: no other is asked for."""
    secrets = []
    for namespace, name in sorted({place for each in config_maps for place in cluster.references(each)}):
        try:
            secret = api.get("Secret", name, namespace)
        except AccessDenied:
            continue  # the ConfigMap that needs it is reported with the Secret's name
        if secret is not None:
            secrets.append(secret)
    return secrets
