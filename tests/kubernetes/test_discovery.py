"""Services of a live cluster: described, labelled, by a forwarded port; and where listing is forbidden."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from thinkube.errors import ServiceNotFound
from thinkube.model.endpoint import Credential
from thinkube.services import cluster_lookup
from thinkube.services.discovery import find
from thinkube.services.kubernetes_api import KubernetesApi

from .conftest import TestCluster
from .test_cluster import RESTRICTED

CANARY = "canary-91c3d0"
LITELLM = """\
service:
  name: litellm
  endpoints:
    - {name: api, type: http, url: "https://litellm.example.com/v1", primary: true}
    - {name: internal, type: internal, url: "http://litellm.litellm.svc.cluster.local:4000"}
  environment_variables:
    - name: LITELLM_API_KEY
      secretKeyRef: {name: litellm-key, key: key}
"""


@pytest.fixture(autouse=True)
def _list_anew() -> None:
    cluster_lookup.forget()


@pytest.fixture
def offered(api: KubernetesApi, cluster: TestCluster, eventually: Callable[..., None]) -> Iterator[None]:
    """A described LiteLLM with its Secret, and a labelled Qdrant whose pod is a small HTTP server."""
    labels = {"thinkube.io/managed": "true", "thinkube.io/service-name": "litellm"}
    api.apply({"apiVersion": "v1", "kind": "ConfigMap", "data": {"service.yaml": LITELLM},
               "metadata": {"name": "thinkube-service-config", "labels": labels}})  # fmt: skip
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "litellm-key"},
               "stringData": {"key": CANARY}})  # fmt: skip
    container = {
        "name": "main",
        "image": f"{cluster.registry}/base/python:3.11",
        "command": ["python3", "-m", "http.server", "6333", "--directory", "/etc"],
        "ports": [{"name": "rest", "containerPort": 6333}],
        "readinessProbe": {"tcpSocket": {"port": "rest"}, "periodSeconds": 1},
        "securityContext": RESTRICTED,
    }
    metadata = {"name": "qdrant", "labels": {"app": "qdrant"}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    labels = {"thinkube.io/managed": "true", "thinkube.io/service-name": "qdrant"}
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "qdrant", "labels": labels},
               "spec": {"selector": {"app": "qdrant"},
                        "ports": [{"name": "rest", "port": 80, "targetPort": "rest"}]}})  # fmt: skip

    def ready() -> bool:
        conditions = (api.get("Pod", "qdrant") or {})["status"].get("conditions") or []
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    eventually(ready, 120)
    yield
    api.delete("ConfigMap", "thinkube-service-config")
    api.delete("Service", "qdrant")


@pytest.mark.usefixtures("offered")
def test_services_are_found_from_outside_and_as_pods_reach_them(context: str, api: KubernetesApi) -> None:
    outside = find("llm", context=context)
    assert outside.url == "https://litellm.example.com/v1"
    assert outside.credential == Credential(CANARY)
    assert CANARY not in repr(outside)
    assert f"{api.namespace}/thinkube-service-config" in outside.source

    inside = find("llm", context=context, pods=True)
    assert inside.url == "http://litellm.litellm.svc.cluster.local:4000"
    assert find("qdrant", context=context, pods=True).url == f"http://qdrant.{api.namespace}.svc:80"

    forwarded = find("qdrant", context=context)
    assert forwarded.url.startswith("http://127.0.0.1:")
    assert "through a port of this machine" in forwarded.source
    for _ in range(3):
        assert "debian_version" in httpx.get(forwarded.url, trust_env=False, timeout=30).text


@pytest.mark.usefixtures("offered")
def test_an_account_that_may_not_list_is_told_so(
    tmp_path: Path, api: KubernetesApi, cluster: TestCluster, described: Callable[..., str]
) -> None:
    name = f"reader-{secrets.token_hex(3)}"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
    api.apply(account)
    path = f"/api/v1/namespaces/{api.namespace}/serviceaccounts/reader/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = api._json("POST", path, (), request)
    read = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    read["users"] = [{"name": "reader", "user": {"token": token["status"]["token"]}}]
    read["contexts"][0]["context"]["user"] = "reader"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(read))
    described(name, kubeconfig=str(tmp_path / "kubeconfig"), namespace=api.namespace)
    with pytest.raises(ServiceNotFound) as raised:
        find("qdrant", context=name)
    told = str(raised.value)
    assert "listing every Service is forbidden to this account" in told
    assert "Role" in told
    assert token["status"]["token"] not in told

    (tmp_path / "kubeconfig").write_text((tmp_path / "kubeconfig").read_text().replace("token: ", "token: x"))
    cluster_lookup.forget()
    with pytest.raises(ServiceNotFound, match=r"does not know who asks"):
        find("qdrant", context=name)
