"""What an existing Thinkube cluster says of its services, from Kubernetes objects to Endpoints.

Two conventions: a ConfigMap `thinkube-service-config` in each service's namespace, whose key `service.yaml`
describes endpoints and environment variables; and Services labelled `thinkube.io/managed=true`.
Nothing here talks to a cluster.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ConfigurationError
from thinkube.services.discovery import split
from thinkube.services.table import SERVICES, Environment, Service

CONFIG_MAP = "thinkube-service-config"
KEY = "service.yaml"
MANAGED = "thinkube.io/managed"
SERVICE_NAME = "thinkube.io/service-name"

Object = Mapping[str, Any]

# What a service is called in a cluster, where that differs from its name in the service table.
_PRODUCTS = {"litellm": "llm", "seaweedfs": "s3", "minio": "s3"}
# A variable that clusters keep a secret in, beside those that clients read.
_SECRETS_TOO = {"llm": ("LITELLM_MASTER_KEY",)}
# Of a service's endpoints, those meant for programs come before the page meant for people.
_FOR_PROGRAMS = ("api", "client", "internal-client", "internal", "s3", "rest", "http")


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers.

    Attributes:
        endpoints: by name in the service table.
        problems: what could not be used, and why, by namespace and name of the object.
    """

    endpoints: Mapping[str, Endpoint]
    problems: Mapping[str, str]


def read(
    config_maps: Iterable[Object],
    services: Iterable[Object] = (),
    secrets: Iterable[Object] = (),
    *,
    cluster: str = "the cluster",
    inside: bool = False,
) -> Cluster:
    """Endpoints from a cluster's objects, as its API gives them. What is broken affects itself alone.

    Args:
        config_maps: ConfigMaps; those of another name are passed over.
        services: Services; those without the label `thinkube.io/managed` are passed over.
        secrets: the Secrets that ConfigMaps refer to, as far as they may be read.
        cluster: its name, for the sentence that says where an endpoint was found.
        inside: whether addresses within the cluster can be reached from here.
    """
    values = _secret_values(secrets)
    found: dict[str, Endpoint] = {}
    problems: dict[str, str] = {}
    for config_map in sorted(config_maps, key=_place):
        if _metadata(config_map).get("name") != CONFIG_MAP:
            continue
        try:
            endpoint = _from_config_map(config_map, values, cluster, inside)
        except ConfigurationError as error:
            problems[_place(config_map)] = error.cause
            continue
        if endpoint is not None:
            found.setdefault(endpoint.service, endpoint)
    for service in sorted(services, key=_place):
        endpoint = _from_service(service, cluster) if inside else None
        if endpoint is not None:
            found.setdefault(endpoint.service, endpoint)
    return Cluster(MappingProxyType(found), MappingProxyType(problems))


def service_of(config_map: Object) -> str:
    """The name in the service table of what a ConfigMap describes; empty for what no client talks to."""
    name = _labels(config_map).get(SERVICE_NAME, "")
    if not name:
        try:
            name = str(_described(config_map).get("name") or "")
        except ConfigurationError:
            return ""  # `read` says what is wrong with it
    return _PRODUCTS.get(name, name) if _PRODUCTS.get(name, name) in SERVICES else ""


def service_named(service: Object) -> str:
    """The same of a labelled Service."""
    name = _labels(service).get(SERVICE_NAME, "")
    return _PRODUCTS.get(name, name) if _PRODUCTS.get(name, name) in SERVICES else ""


def references(config_map: Object) -> set[tuple[str, str]]:
    """Namespace and name of each Secret that a ConfigMap takes values from."""
    try:
        variables = _variables(_described(config_map), config_map)
    except ConfigurationError:
        return set()  # `read` says what is wrong with it
    named = [given for given in variables.values() if isinstance(given, Mapping)]
    return {(str(each.get("namespace") or _namespace(config_map)), str(each.get("name"))) for each in named}


def _from_config_map(
    config_map: Object, secrets: Mapping[tuple[str, str], Mapping[str, str]], cluster: str, inside: bool
) -> Endpoint | None:
    described = _described(config_map)
    name = str(described.get("name") or _labels(config_map).get(SERVICE_NAME, ""))
    entry = SERVICES.get(_PRODUCTS.get(name, name))
    if entry is None:
        return None  # a service that no client of ours talks to
    source = f"the ConfigMap {_place(config_map)} of {cluster}"
    variables = _variables(described, config_map)
    for way in entry.environments:
        if isinstance(given := variables.get(way.url), str):
            url, chosen = given, way
            break
    else:
        url, chosen = _url(described, entry, inside, source), entry.environments[0]
    secret, username = _credential(entry, chosen, variables, config_map, secrets, source)
    bare, within = split(entry, url, source)
    credential = Credential(secret, username) if secret else within
    return Endpoint(entry.name, bare, credential, source, backend=entry.name)


def _described(config_map: Object) -> Mapping[str, Any]:
    import yaml

    text = (config_map.get("data") or {}).get(KEY)
    if not isinstance(text, str):
        raise ConfigurationError(f"The ConfigMap {_place(config_map)} has no key {KEY}.")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it can't be read"
        raise ConfigurationError(
            f"{KEY} of the ConfigMap {_place(config_map)}{line} is not valid YAML: {problem}."
        ) from error
    described = document.get("service") if isinstance(document, dict) else None
    if not isinstance(described, dict):
        raise ConfigurationError(f"{KEY} of the ConfigMap {_place(config_map)} has no mapping `service`.")
    return described


def _variables(described: Mapping[str, Any], config_map: Object) -> dict[str, str | Mapping[str, Any]]:
    """Each environment variable with its value, or with the reference to the Secret that holds it."""
    variables: dict[str, str | Mapping[str, Any]] = {}
    for each in _list(described, "environment_variables", config_map):
        reference = each.get("secretKeyRef") or (each.get("valueFrom") or {}).get("secretKeyRef")
        if isinstance(reference, dict):
            variables[str(each.get("name"))] = reference
        elif each.get("value") not in (None, ""):
            variables[str(each.get("name"))] = str(each["value"])
    return variables


def _credential(
    entry: Service,
    chosen: Environment,
    variables: Mapping[str, str | Mapping[str, Any]],
    config_map: Object,
    secrets: Mapping[tuple[str, str], Mapping[str, str]],
    source: str,
) -> tuple[str | None, str | None]:
    def value(variable: str | None) -> str | None:
        given = variables.get(variable or "")
        if not isinstance(given, Mapping):
            return given
        place = str(given.get("namespace") or _namespace(config_map)), str(given.get("name"))
        key = str(given.get("key"))
        try:
            return secrets[place][key]
        except KeyError as error:
            raise ConfigurationError(
                f"{source[0].upper()}{source[1:]} takes {variable} from the key {key} of the Secret "
                f"{'/'.join(place)}, which is not there or may not be read."
            ) from error

    ways = [chosen, *(way for way in entry.environments if way.url == chosen.url and way != chosen)]
    for way in ways:
        if secret := value(way.secret):
            return secret, value(way.username)
    for variable in _SECRETS_TOO.get(entry.name, ()):
        if secret := value(variable):
            return secret, None
    return None, None


def _url(described: Mapping[str, Any], entry: Service, inside: bool, source: str) -> str:
    """The endpoint that programs talk to."""
    usable: list[tuple[bool, int, bool, str]] = []
    for each in _list(described, "endpoints", None, source):
        url, name = str(each.get("url") or ""), str(each.get("name") or "")
        scheme = url.partition("://")[0] if "://" in url else ""
        internal = each.get("type") == "internal"
        if not url or (scheme and scheme not in entry.schemes) or (internal and not inside):
            continue
        rank = _FOR_PROGRAMS.index(name) if name in _FOR_PROGRAMS else len(_FOR_PROGRAMS)
        usable.append((not internal, rank, not each.get("primary"), url))
    if not usable:
        raise ConfigurationError(
            f"{source[0].upper()}{source[1:]} names no endpoint of {entry.title} that is reached from here."
        )
    return min(usable)[-1]


def _from_service(service: Object, cluster: str) -> Endpoint | None:
    labels = _labels(service)
    name = labels.get(SERVICE_NAME, "")
    entry = SERVICES.get(_PRODUCTS.get(name, name))
    ports = (service.get("spec") or {}).get("ports") or []
    if labels.get(MANAGED) != "true" or entry is None or not ports:
        return None
    named = [port for port in ports if port.get("name") in (*_FOR_PROGRAMS, entry.name)]
    port = (named or ports)[0]["port"]
    metadata = _metadata(service)
    url = f"{entry.schemes[0]}://{metadata['name']}.{_namespace(service)}.svc:{port}"
    source = f"the Service {_place(service)} of {cluster}"
    return Endpoint(entry.name, url, None, source, backend=entry.name)


def _secret_values(secrets: Iterable[Object]) -> dict[tuple[str, str], Mapping[str, str]]:
    values: dict[tuple[str, str], Mapping[str, str]] = {}
    for secret in secrets:
        decoded = dict(secret.get("stringData") or {})
        for key, packed in (secret.get("data") or {}).items():
            try:
                decoded[key] = base64.b64decode(packed, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue  # a file such as a keystore: no credential of a client
        values[_namespace(secret), str(_metadata(secret).get("name"))] = MappingProxyType(decoded)
    return values


def _list(
    described: Mapping[str, Any], key: str, config_map: Object | None, source: str = ""
) -> list[Mapping[str, Any]]:
    entries = described.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        where = source or f"the ConfigMap {_place(config_map or {})}"
        raise ConfigurationError(f"`{key}` of {where} is not a list of mappings.")
    return entries


def _metadata(each: Object) -> Mapping[str, Any]:
    metadata = each.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _labels(each: Object) -> Mapping[str, str]:
    return _metadata(each).get("labels") or {}


def _namespace(each: Object) -> str:
    return str(_metadata(each).get("namespace") or "default")


def _place(each: Object) -> str:
    return f"{_namespace(each)}/{_metadata(each).get('name', '')}"
