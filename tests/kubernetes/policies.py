"""What a NetworkPolicy lets out of the pods it selects, evaluated as a cluster's network plugin does."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any


def lets_out(
    policy: Mapping[str, Any],
    port: int,
    *,
    namespace: str = "",
    pods: Mapping[str, str] | None = None,
    address: str = "",
    protocol: str = "TCP",
) -> bool:
    """Whether a policy allows a connection to pods of a namespace, or to an address."""
    for rule in policy["spec"].get("egress", ()):
        numbers = [(each.get("protocol", "TCP"), each["port"]) for each in rule.get("ports", ())]
        if numbers and (protocol, port) not in numbers:
            continue
        if any(_is(peer, namespace, pods or {}, address) for peer in rule["to"]):
            return True
    return False


def _is(peer: Mapping[str, Any], namespace: str, pods: Mapping[str, str], address: str) -> bool:
    if block := peer.get("ipBlock"):
        if not address:
            return False
        given = ipaddress.ip_address(address)
        beside = [ipaddress.ip_network(each) for each in block.get("except", ())]
        return given in ipaddress.ip_network(block["cidr"]) and not any(given in each for each in beside)
    wanted = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    return not address and namespace == wanted and labels.items() <= pods.items()
