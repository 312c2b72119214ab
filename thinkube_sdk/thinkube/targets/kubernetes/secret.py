"""The Secret that a deployment's variables come from: new values make a new one; old pods keep theirs."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from thinkube.services.kubernetes_api import KubernetesApi
from thinkube.targets.kubernetes.manifests import COMPONENT, MANAGED_BY, NAME


def values(api: KubernetesApi, name: str) -> dict[str, str]:
    """What a Secret holds."""
    found = api.get("Secret", name) if name else None
    data = (found or {}).get("data") or {}
    return {key: base64.b64decode(packed).decode() for key, packed in data.items()}


def keep(api: KubernetesApi, deployment: str, current: str, wanted: Mapping[str, str]) -> str:
    """The name of a Secret that holds exactly these values: the current one if it does, else a new one."""
    if not wanted:
        return ""
    if current and values(api, current) == wanted:
        return current
    labels = {NAME: deployment, MANAGED_BY: "thinkube", COMPONENT: "agent"}
    made = api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"generateName": f"{deployment}-", "labels": labels},
            "type": "Opaque",
            "immutable": True,
            "stringData": dict(wanted),
        }
    )
    return str(made["metadata"]["name"])


def remove_others(api: KubernetesApi, deployment: str, kept: str) -> None:
    """Remove a deployment's Secrets that its pods no longer use."""
    labels = f"{NAME}={deployment},{MANAGED_BY}=thinkube,{COMPONENT}=agent"
    for secret in api.list("Secret", labels=labels):
        if secret["metadata"]["name"] != kept:
            api.delete("Secret", secret["metadata"]["name"])
