"""Which context holds: where "here" is, and which services are named for it.

Chosen by argument, then `THINKUBE_CONTEXT`, then the file; in a pod it is `in-cluster`, else `local`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from thinkube.model.errors import ConfigurationError, UsageError
from thinkube.model.private import write_private
from thinkube.model.settings import CONTEXT, config_file
from thinkube.services import context_file
from thinkube.services.context_file import Kubernetes, Place

LOCAL = "local"
IN_CLUSTER = "in-cluster"

BUILT_IN = (LOCAL, IN_CLUSTER)


@dataclass(frozen=True)
class Context:
    """One context.

    Attributes:
        name: how it is called.
        why: what chose it, in words; empty when something else is chosen.
        services: the services named for it in the file, by their name in the service table.
        path: the file.
        kubernetes: its cluster, if it has one.
    """

    name: str
    why: str
    services: Mapping[str, Place]
    path: Path
    kubernetes: Kubernetes | None = None


def current(name: str | None = None) -> Context:
    """The context that holds.

    Args:
        name: the context, if the caller chooses it.

    Raises:
        UsageError: no context has the name that was given.
        ConfigurationError: no context has the name that is configured, or the file can't be understood.

    Example:
        >>> current("local").why
        'the argument `context`'
    """
    path = config_file()
    file = context_file.read(path)
    known = dict(file.contexts) if file else {}
    chosen, why = _choice(name, file)
    if chosen not in known and chosen not in BUILT_IN:
        names = sorted({*known, *BUILT_IN})
        near = get_close_matches(chosen, names, n=1, cutoff=0.5)
        suggestion = f"Did you mean {near[0]!r}? " if near else ""
        kind = UsageError if name is not None else ConfigurationError
        raise kind(
            f"There is no context {chosen!r}, which {why} names.",
            f"{suggestion}Known: {', '.join(names)}. Others are described in {path}.",
        )
    return Context(chosen, why, known.get(chosen, {}), path, _cluster(chosen, file))


def contexts() -> tuple[Context, ...]:
    """Every context: the two that are always there, and those of the file.

    Raises:
        ConfigurationError: see `current`.
    """
    here = current()
    file = context_file.read(here.path)
    known = dict(file.contexts) if file else {}
    names = [*BUILT_IN, *(name for name in known if name not in BUILT_IN)]
    return tuple(
        here if name == here.name else Context(name, "", known.get(name, {}), here.path, _cluster(name, file))
        for name in names
    )


def use(name: str) -> Context:
    """Choose a context for this user, in the file. What else is in the file stays as it is.

    Returns:
        The context that holds now: another one where `THINKUBE_CONTEXT` is set.

    Raises:
        UsageError: there is no context of that name.
        ConfigurationError: the file can't be understood.
    """
    chosen = current(name)
    path = chosen.path
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    after = context_file.choose(before, chosen.name)
    context_file.parse(path, after)
    write_private(path, after)
    return current()


def variables(service: str) -> tuple[str, ...]:
    """The environment variables that the context's entry of a service may read."""
    place = current().services.get(service)
    return (place.secret,) if place is not None and place.secret else ()


def _cluster(name: str, file: context_file.ContextFile | None) -> Kubernetes | None:
    """What the file says of a context's cluster; in a pod its own cluster needs no words."""
    described = file.clusters.get(name) if file is not None else None
    return described or (Kubernetes() if name == IN_CLUSTER else None)


def _choice(name: str | None, file: context_file.ContextFile | None) -> tuple[str, str]:
    if name is not None:
        return name, "the argument `context`"
    if named := os.environ.get(CONTEXT.variable):
        return named, f"the environment variable {CONTEXT.variable}"
    if file is not None and file.chosen:
        return file.chosen, str(file.path)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return IN_CLUSTER, "this process runs in a pod"
    return LOCAL, "nothing else was chosen"
