"""How an agent's pods reach the services that it uses: addresses that hold there, credentials, permission."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceNotFound, UsageError
from thinkube.services.discovery import find
from thinkube.services.kubernetes_api import KubernetesApi
from thinkube.services.table import SERVICES
from thinkube.targets.kubernetes.plan import Egress
from thinkube.targets.target import Progress

_PORTS = {"http": 80, "https": 443, "nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
# Not part of "the internet": what stands there is named by its own address, or not at all.
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_TRACING = "langfuse"  # every agent's runs are traced, where there is something that takes traces


@dataclass(frozen=True)
class Bindings:
    """What services mean for a pod.

    Attributes:
        settings: variables that say where they are.
        secrets: variables that hold their credentials.
        egress: that they may be connected to.
    """

    settings: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    egress: tuple[Egress, ...]


def bind(api: KubernetesApi, services: Iterable[str], progress: Progress) -> Bindings:
    """Find services as the cluster's pods reach them.

    A service that is known only on this machine is named and left out: its address means another thing there.
    """
    settings: dict[str, str] = {}
    secrets: dict[str, str] = {}
    egress: dict[tuple[object, ...], Egress] = {}
    for name in sorted({*services, _TRACING}):
        endpoint = _found(api, name, progress)
        if endpoint is None:
            continue
        plain, secret = variables(endpoint)
        settings |= plain
        secrets |= secret
        allowed = permission(api, endpoint)
        egress[allowed.port, allowed.namespace, tuple(allowed.pods.items()), allowed.block] = allowed
    return Bindings(settings, secrets, tuple(egress.values()))


def variables(endpoint: Endpoint) -> tuple[dict[str, str], dict[str, str]]:
    """An endpoint as the variables that its clients read: the plain ones, and those that are secret."""
    ways = SERVICES[endpoint.backend or endpoint.service].environments  # of what stands in for it, too
    credential = endpoint.credential
    named = credential is not None and credential.username is not None
    way = next((each for each in ways if bool(each.username) == named), ways[0]) if credential else ways[0]
    plain = {way.url: endpoint.url}
    plain |= {variable: endpoint.options[key] for key, variable in way.options if key in endpoint.options}
    secret: dict[str, str] = {}
    if credential is not None and way.secret:
        secret[way.secret] = credential.secret
        if way.username and credential.username:
            plain[way.username] = credential.username
    return plain, secret


def _found(api: KubernetesApi, name: str, progress: Progress) -> Endpoint | None:
    try:
        endpoint = find(name, context=api.context.name, pods=True)
    except ServiceNotFound as error:
        if name != _TRACING:
            progress(f"{error.cause} The agent starts without it.")
        return None
    host = urlsplit(endpoint.url).hostname or ""
    if host == "localhost" or _address(host, "is_loopback"):
        progress(f"{endpoint.url}, by {endpoint.source}, is this machine: pods can't reach {name} there")
        return None
    return endpoint


def permission(api: KubernetesApi, endpoint: Endpoint) -> Egress:
    """That pods may connect to an endpoint, as narrow as its address allows.

    Raises:
        UsageError: its address leads nowhere.
    """
    parts = urlsplit(endpoint.url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    service, namespace, inside = _service(host, api.namespace)
    if inside:
        found = api.get("Service", service, namespace)
        if found is None:
            raise UsageError(
                f"{endpoint.url}, by {endpoint.source}: there is no Service {namespace}/{service}.",
                "Correct the address, or start that service first.",
            )
        spec = found["spec"]
        if spec.get("selector"):
            [target] = [each for each in spec["ports"] if each["port"] == port] or [{}]
            inner = target.get("targetPort", port)
            if not isinstance(inner, int):
                inner = _named_port(api, namespace, spec["selector"], inner) or port
            return Egress(inner, namespace, spec["selector"], what=endpoint.service)
        host = spec.get("externalName") or host
    if _address(host, "is_private"):
        return Egress(port, block=f"{host}/{32 if '.' in host else 128}", what=endpoint.service)
    if (resolved := _private_address(host)) is not None:
        return Egress(port, block=f"{resolved}/32", what=endpoint.service)
    return Egress(port, block="0.0.0.0/0", beside=_PRIVATE, what=endpoint.service)


def _service(host: str, own: str) -> tuple[str, str, bool]:
    """The Service that a name within the cluster means."""
    parts = host.removesuffix(".").removesuffix(".cluster.local").split(".")
    if len(parts) == 1 and not _address(host, "version") and host:
        return parts[0], own, True
    return (parts[0], parts[1], True) if parts[2:] == ["svc"] else ("", "", False)


def _named_port(api: KubernetesApi, namespace: str, pods: Mapping[str, str], name: str) -> int | None:
    labels = ",".join(f"{key}={value}" for key, value in pods.items())
    for pod in api.list("Pod", namespace, labels=labels):
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or []:
                if port.get("name") == name:
                    return int(port["containerPort"])
    return None


def _private_address(host: str) -> str | None:
    """The address of a name that means a machine of one's own network."""
    try:
        known = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return None
    address = str(known[0][4][0])
    return address if _address(address, "is_private") else None


def _address(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
