"""Which environment variables a deployed process gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from thinkube.bundles.verify import clean_environment
from thinkube.model.bundle import Manifest
from thinkube.services.exported import exported
from thinkube.services.table import SERVICES

# Where traces go is decided where `deploy` is called: MLflow's active experiment there.
_PLAIN = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


def variables(manifest: Manifest, secrets: Mapping[str, str]) -> dict[str, str]:
    """The machine's variables, those that lead to the services used, and the secrets named.

    Services of the local stack are not among them: the process finds these itself, so that it follows
    them to other ports.
    """
    used = replace(manifest, services=tuple(sorted({*manifest.services, "langfuse"})))
    chosen = clean_environment(used)
    for service in used.services:
        for place in SERVICES[service].environments:
            if place.url in chosen and exported().get(place.url) == chosen[place.url]:
                for name in (place.url, place.secret, place.username, *dict(place.options).values()):
                    chosen.pop(name or "", None)
    return {**chosen, **secrets}


def settings() -> dict[str, str]:
    """Plain variables that are kept with the deployment."""
    return {name: os.environ[name] for name in _PLAIN if name in os.environ}
