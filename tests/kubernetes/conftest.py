"""A real cluster, and in it a namespace for each test. See tests/cluster/README.md."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from thinkube.model.settings import config_file
from thinkube.services.kubernetes_api import KubernetesApi, connect

PROGRAM = Path(__file__).parents[1] / "cluster" / "cluster.py"
OWN_KUBECONFIG = "/var/lib/thinkube-cluster/admin.kubeconfig"


@dataclass(frozen=True)
class TestCluster:
    """Where the cluster is, and the registry that its nodes pull from."""

    __test__ = False
    kubeconfig: str
    registry: str


@pytest.fixture(scope="session")
def cluster() -> TestCluster:
    """The cluster that KUBECONFIG and THINKUBE_TEST_REGISTRY name, else our own, which `make` takes down."""
    given = os.environ.get("KUBECONFIG"), os.environ.get("THINKUBE_TEST_REGISTRY")
    if given[0] and given[1]:
        return TestCluster(given[0], given[1])
    done = subprocess.run([sys.executable, str(PROGRAM), "up"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return TestCluster(OWN_KUBECONFIG, "127.0.0.1:15000")


@pytest.fixture(scope="session")
def described(cluster: TestCluster, home: Path) -> Callable[..., str]:
    """Describe a context of the test cluster in the configuration of this session; its name."""
    described: dict[str, dict[str, str]] = {}

    def describe(name: str, **keys: str) -> str:
        described[name] = {
            "kubeconfig": cluster.kubeconfig,
            "registry": cluster.registry,
            "runtime": f"{cluster.registry}/thinkube/runtime:{{python}}",
            **keys,
        }
        lines = []
        for context, table in described.items():
            lines.append(f"[contexts.{context}.kubernetes]")
            lines += [f'{key} = "{value}"' for key, value in table.items()]
        config_file().parent.mkdir(parents=True, exist_ok=True)
        config_file().write_text("\n".join(lines) + "\n")
        assert config_file().is_relative_to(home)
        return name

    return describe


def make_namespace(api: KubernetesApi, name: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "thinkube.io/test": "true"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


@pytest.fixture
def context(described: Callable[..., str]) -> Iterator[str]:
    """A context whose agents run in a namespace of this test's own."""
    namespace = f"test-{secrets.token_hex(4)}"
    name = described(namespace, namespace=namespace)
    api = connect(name)
    make_namespace(api, namespace)
    yield name
    api.delete("Namespace", namespace)


@pytest.fixture
def api(context: str) -> KubernetesApi:
    return connect(context)
