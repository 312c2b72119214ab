"""The cluster's keys, bridge, routes and sysctls, and how all of them are taken back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from machine import API, API_IP, BRIDGE, NODE_IP, PKI, POD_NET, SERVICE_NET, STATE, sh

SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.route_localnet",
    "net.bridge.bridge-nf-call-iptables",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
)
SUBJECTS = {
    "kube-apiserver": "/CN=kube-apiserver",
    "admin": "/O=system:masters/CN=admin",
    "kubelet": "/O=system:nodes/CN=system:node:node1",
    "kube-proxy": "/CN=system:kube-proxy",
    "kube-controller-manager": "/CN=system:kube-controller-manager",
    "kube-scheduler": "/CN=system:kube-scheduler",
}
_OURS = r"KUBE-|CNI-"


def make_keys() -> None:
    """A certificate and a kubeconfig for each component."""
    PKI.mkdir(parents=True)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    sh("openssl", "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", cwd=PKI)
    sh("openssl", "genrsa", "-out", "sa.key", "2048", cwd=PKI)
    names = f"subjectAltName=IP:127.0.0.1,IP:{API_IP},IP:{NODE_IP},DNS:kubernetes.default.svc"
    (PKI / "names").write_text(names)
    for name, subject in SUBJECTS.items():
        request = ("-keyout", f"{name}.key", "-out", "request", "-subj", subject)
        sh("openssl", "req", *new_key, *request, cwd=PKI)
        signing = (
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "365",
            "-extfile",
            "names",
        )
        sh("openssl", "x509", "-req", "-in", "request", *signing, "-out", f"{name}.crt", cwd=PKI)
        (STATE / f"{name}.kubeconfig").write_text(json.dumps(_kubeconfig(name)))


def _kubeconfig(name: str) -> dict[str, object]:
    server = {"server": API, "certificate-authority": f"{PKI}/ca.crt"}
    user = {"client-certificate": f"{PKI}/{name}.crt", "client-key": f"{PKI}/{name}.key"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
    }


def refuse_another() -> None:
    """Taking this cluster down removes every rule that a Kubernetes made: there may be no other."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists() and re.search(
        r"^:KUBE-SERVICES", sh("iptables-save"), re.M
    ):
        sys.exit(
            "another Kubernetes runs on this machine; set KUBECONFIG and THINKUBE_TEST_REGISTRY to use it"
        )


def make_network() -> None:
    if not (STATE / "sysctls").exists():
        noted = "".join(f"{key}={sh('sysctl', '-n', key)}" for key in SYSCTLS)
        (STATE / "sysctls").write_text(noted)
    sh("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        sh("ip", "link", "add", BRIDGE, "type", "bridge")
        sh("ip", "addr", "add", f"{NODE_IP}/24", "dev", BRIDGE)
        sh("ip", "link", "set", BRIDGE, "up")
        for net in (POD_NET, SERVICE_NET):  # so that no packet to them ever leaves the machine
            sh("ip", "route", "add", net, "dev", BRIDGE)


def remove_network() -> None:
    sh("ip", "link", "delete", BRIDGE, check=False)
    for family in ("iptables", "ip6tables"):
        rules = sh(f"{family}-save").splitlines(keepends=True)
        kept = "".join(rule for rule in rules if not re.search(_OURS, rule))
        sh(f"{family}-restore", given=kept)
    if (STATE / "sysctls").exists():
        sh("sysctl", "-qw", *(STATE / "sysctls").read_text().split(), check=False)
