"""Where a service is: the argument, then the environment, the context, then the local stack.

URL and credential always come from the same place, so that no key ever goes to a wrong host, and
nothing falls through to a public cloud default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ConfigurationError, ServiceNotFound, UsageError
from thinkube.services import contexts, secrets, state
from thinkube.services.contexts import Context
from thinkube.services.exported import exported
from thinkube.services.loopback import bypass_proxy
from thinkube.services.table import SERVICES, Environment, Service

# How the sentence of `Endpoint.source` begins, by the kind of place.
ARGUMENT = "the argument"
ENVIRONMENT = "the environment variable"
CONTEXT = "the context"
LOCAL_STACK = "the local stack"

START = "Start the services on this machine with `thinkube up`"


def find(
    service: str,
    url: str | None = None,
    credential: Credential | str | None = None,
    *,
    context: str | None = None,
    pods: bool = False,
) -> Endpoint:
    """Find a service.

    Args:
        service: its name in the service table: `llm`, `mlflow`, `langfuse`, `nats`, `qdrant`.
        url: where it is, if the caller knows; then no other place is looked at, for the credential either.
        credential: what it asks for; only together with `url`.
        context: where to look it up, if not in the context that holds (`thinkube context list`).
        pods: as the pods of the context's cluster reach it, and not this process.

    Returns:
        The first hit of argument, environment, context, its cluster, and local stack. Of these, nothing
        but the cluster's API is connected to. Where none of them but the stack names Langfuse, an MLflow
        that environment or context names keeps the traces.

    Raises:
        UsageError: no service or no context has that name, or a credential was given without its URL.
        ServiceNotFound: no place names it. The message lists every place looked at.
        ConfigurationError: a place names it in a way that can't be understood.

    Example:
        >>> find("nats", "nats://127.0.0.1:4222").source
        'the argument `url`'
    """
    entry = lookup(service)
    if url is not None:
        bypass_proxy(url)
        return _argument(entry, url, credential)
    if credential is not None:
        raise UsageError(
            f"A credential for {entry.title} was given without the URL it belongs to.",
            "Give `url` together with the credential, so that it can't reach another host.",
        )
    here = contexts.current(context)
    looked: list[str] = []
    found = (
        _environment(entry, looked)
        or _context(entry, looked, here)
        or _cluster(entry, looked, here, pods)
        or _stand_in(entry, looked, here)
        or (None if pods else _local_stack(entry, looked))
    )
    if found is not None and not pods:
        bypass_proxy(found.url)
    if found is not None:
        return found
    variables = " or ".join(dict.fromkeys(each.url for each in entry.environments))
    start = f"{START}, or set" if entry.local else "Set"
    raise ServiceNotFound(
        f"No {entry.title} ({entry.purpose}) is known. Looked at: {'; '.join(looked)}.",
        f"{start} {variables} to one that runs elsewhere.",
    )


def lookup(service: str) -> Service:
    """The service table's entry of a name.

    Raises:
        UsageError: there is none; the nearest name is suggested.
    """
    entry = SERVICES.get(service)
    if entry is None:
        near = get_close_matches(service, SERVICES, n=1, cutoff=0.5)
        suggestion = f"Did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"There is no service {service!r}.", f"{suggestion}Known: {', '.join(SERVICES)}.")
    return entry


def _argument(entry: Service, url: str, credential: Credential | str | None) -> Endpoint:
    given = Credential(credential) if isinstance(credential, str) else credential
    bare, within = split(entry, url, f"{ARGUMENT} `url`")
    return Endpoint(
        entry.name, bare, given or within, f"{ARGUMENT} `url`", backend=entry.name, options=_options({})
    )


def _environment(entry: Service, looked: list[str]) -> Endpoint | None:
    ours = exported()
    for environment in _complete_first(entry.environments):
        url = os.environ.get(environment.url)
        if not url:
            looked.append(f"environment variable {environment.url} (not set)")
            continue
        if ours.get(environment.url) == url:
            continue  # set by an earlier `tk.mlflow()` from another place, not by the user
        source = f"{ENVIRONMENT} {environment.url}"
        bare, within = split(entry, url, source)
        secret = os.environ.get(environment.secret or "")
        username = os.environ.get(environment.username or "")
        options = {name: os.environ[key] for name, key in environment.options if os.environ.get(key)}
        return Endpoint(
            entry.name,
            bare,
            Credential(secret, username or None) if secret else within,
            source,
            backend=entry.name,
            options=_options(options),
        )
    return None


def _complete_first(environments: tuple[Environment, ...]) -> list[Environment]:
    """Ways with one URL variable differ in their secret: those whose secret is set come first."""
    order = list(dict.fromkeys(each.url for each in environments))
    chosen = []
    for url in order:
        same = [each for each in environments if each.url == url]
        chosen.append(next((each for each in same if os.environ.get(each.secret or "")), same[0]))
    return chosen


def _context(entry: Service, looked: list[str], context: Context) -> Endpoint | None:
    """What the file names for the context, with the secret it names."""
    source = f"{CONTEXT} {context.name} ({context.path})"
    place = context.services.get(entry.name)
    if place is None:
        said = "names none" if context.path.exists() else "is not there"
        looked.append(f"{CONTEXT} {context.name} ({context.path} {said})")
        return None
    bare, _ = split(entry, place.url, source)
    secret = secrets.known(place.secret) if place.secret else None
    if place.secret and secret is None:
        # What stands there may be the secret itself, so it is not repeated.
        raise ConfigurationError(
            f"{context.path}, line {place.line}: the secret that {entry.title} of the context {context.name} "
            "names is neither an environment variable nor stored.",
            "Store it with `thinkube secret set`, under the name in that table's `secret`.",
        )
    credential = Credential(secret, place.username) if secret else None
    return Endpoint(entry.name, bare, credential, source, backend=entry.name, options=_options(place.options))


def _stand_in(entry: Service, looked: list[str], context: Context) -> Endpoint | None:
    """The service that takes the place of one that no place names: MLflow keeps traces as well."""
    other = SERVICES.get(entry.stand_in)
    # MLflow's variable may name a file or a database, which takes in no traces.
    if other is None or not _names_server(other):
        return None
    found = _environment(other, looked) or _context(other, looked, context)
    return found and replace(found, service=entry.name, backend=other.name)


def _names_server(entry: Service) -> bool:
    given = [url for each in entry.environments if (url := os.environ.get(each.url))]
    return all(url.partition("://")[0] in entry.schemes for url in given if "://" in url)


def _cluster(entry: Service, looked: list[str], context: Context, pods: bool) -> Endpoint | None:
    """What the context's cluster says of itself."""
    if context.kubernetes is None:
        return None
    from thinkube.services.cluster_lookup import look_up

    return look_up(entry, context, looked, pods=pods)


def _local_stack(entry: Service, looked: list[str]) -> Endpoint | None:
    path = state.state_file()
    current = state.read()
    if current is None:
        looked.append(f"the local stack's state file {path} (not there)")
        return None
    if not state.supervised():
        looked.append(f"the local stack's state file {path} (the stack is not running)")
        return None
    for local in current.services.values():
        if entry.name in local.serves and local.stage != "stopped":
            return Endpoint(
                entry.name,
                local.url,
                Credential(local.secret, local.username) if local.secret else None,
                f"{LOCAL_STACK} ({path})",
                backend=local.name,
                options=_options(local.options),
            )
    running = ", ".join(each.name for each in current.services.values()) or "nothing"
    looked.append(f"the local stack's state file {path} (it runs {running})")
    return None


def split(entry: Service, url: str, source: str) -> tuple[str, Credential | None]:
    """A URL without user and password, and those."""
    parts = _parse(entry, url, source)
    host = parts.netloc.rpartition("@")[2]
    bare = parts._replace(netloc=host, path=parts.path.rstrip("/")).geturl()
    if parts.password:
        return bare, Credential(unquote(parts.password), unquote(parts.username or "") or None)
    if parts.username:
        return bare, Credential(unquote(parts.username))
    return bare, None


def _parse(entry: Service, url: str, source: str) -> SplitResult:
    text = url.strip()
    if "://" not in text:
        text = f"{entry.schemes[0]}://{text}"
    try:
        parts = urlsplit(text)
        valid = (
            bool(parts.hostname)
            and not set(text) & set(" \t\n")
            and parts.scheme in entry.schemes
            and (parts.port or 1) > 0
        )
    except ValueError:
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{source[0].upper()}{source[1:]} does not hold a URL of {entry.title}.",
            f"Write it as {entry.schemes[0]}://host:port.",
        )
    return parts


def _options(options: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(options))
