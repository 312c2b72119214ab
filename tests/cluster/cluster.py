#!/usr/bin/env python3
"""A real one-node Kubernetes on this machine, from Go modules and Debian packages.

cluster.py build    compile the missing programs into the cache folder
cluster.py up       start the control plane, the node node1, the registry, DNS and Argo Workflows
cluster.py gpus [N] give node1 N fake GPUs (2), and start KWOK with the fake GPU nodes node2 and node3
cluster.py status   show what runs
cluster.py down     stop and remove everything that `up` made; programs and images stay in the cache

Needs root and Go; installs the Debian packages it lacks. THINKUBE_CLUSTER_CACHE names another cache folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import network
import programs
from machine import (
    CONFIG,
    KUBECONFIG,
    LOG,
    PKI,
    REGISTRY,
    RUN,
    STATE,
    ctr,
    filled,
    kubectl,
    pid_of,
    run,
    sh,
    start,
    stop,
    wait_for,
)

import images

STOPPED = (
    "workflow-controller", "kwok", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager",
    "kube-apiserver", "etcd", "registry",
)  # fmt: skip


def build() -> None:
    programs.install()
    programs.build()


def up() -> None:
    build()
    network.refuse_another()
    for folder in (LOG, RUN):
        folder.mkdir(parents=True, exist_ok=True)
    for file in (path.relative_to(CONFIG) for path in CONFIG.rglob("*") if path.is_file()):
        (STATE / "config" / file).parent.mkdir(parents=True, exist_ok=True)
        (STATE / "config" / file).write_text(filled(file))
    if not (PKI / "ca.crt").exists():
        network.make_keys()
    network.make_network()
    _start_control_plane()
    _start_node()
    images.push_missing()
    kubectl("apply", "-f", STATE / "config/coredns.yaml")
    _start_argo()
    wait_for("node1", lambda: " Ready" in kubectl("get", "node", "node1", check=False))
    wait_for("DNS", lambda: "1/1" in kubectl("-n", "kube-system", "get", "deploy", "coredns", check=False))
    print(f"export KUBECONFIG={KUBECONFIG} THINKUBE_TEST_REGISTRY={REGISTRY}")


def _start_control_plane() -> None:
    run("etcd")
    run("kube-apiserver")
    wait_for("API server", lambda: kubectl("get", "--raw", "/readyz", check=False) == "ok")
    run("kube-controller-manager")
    run("kube-scheduler")


def _start_node() -> None:
    images.restore()
    run("registry")
    start("containerd", "containerd", "-c", STATE / "config/containerd.toml")
    wait_for("containerd", lambda: "Server:" in ctr("version"))
    run("kubelet")
    run("kube-proxy")


def _start_argo() -> None:
    for definition in sorted(programs.argo_manifests().glob("argoproj.io_*.yaml")):
        kubectl("apply", "--server-side", "-f", definition)
    kubectl("apply", "-f", STATE / "config/argo.yaml")
    names = [f"crd/{name}.argoproj.io" for name in ("workflows", "workflowtemplates", "workflowtaskresults")]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    run("workflow-controller", {"LEADER_ELECTION_DISABLE": "true"})


def gpus(count: str = "2") -> None:
    patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": count}]
    kubectl("patch", "node", "node1", "--subresource=status", "--type=json", "-p", json.dumps(patch))
    run("kwok")
    kubectl("apply", "-f", STATE / "config/gpu-nodes.yaml")


def status() -> None:
    for file in sorted(RUN.glob("*.pid")):
        pid = pid_of(file.stem)
        resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) if pid else None
        told = f"pid {pid}, {int(resident[1]) // 1024} MB" if resident else "not running"
        print(f"{file.stem:26}{told}")
    print(kubectl("get", "nodes,pods", "-A", "-o", "wide", check=False))


def down() -> None:
    for name in STOPPED:
        stop(name)
    for container in ctr("containers", "ls", "-q").split():
        _remove_container(container)
    stop("containerd")
    network.remove_network()
    mounts = re.findall(rf"(?m)^(?:\S+ ){{4}}({STATE}/\S+)", Path("/proc/self/mountinfo").read_text())
    for mount in reversed(mounts):
        sh("umount", "-l", mount, check=False)
    for top in (*Path("/sys/fs/cgroup").glob("*/kubepods"), *Path("/sys/fs/cgroup").glob("kubepods")):
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    for link in Path("/var/log/containers").glob("*"):
        if str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    for made in (STATE, Path("/var/lib/kubelet/device-plugins")):  # the latter is fixed in the kubelet
        shutil.rmtree(made, ignore_errors=True)


def _remove_container(container: str) -> None:
    for namespace in set(re.findall(r"/netns/(cni-[\w-]+)", ctr("containers", "info", container))):
        sh("ip", "netns", "delete", namespace, check=False)
    ctr("tasks", "rm", "-f", container)
    ctr("containers", "rm", container)
    for result in Path("/var/lib/cni/results").glob(f"*{container}*"):
        result.unlink()


if __name__ == "__main__":
    commands = {function.__name__: function for function in (build, up, gpus, status, down)}
    command, *arguments = sys.argv[1:] or [""]
    commands[command](*arguments) if command in commands else sys.exit(__doc__)
