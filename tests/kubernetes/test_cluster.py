"""The test cluster itself: a pod runs, a workflow runs, Pod Security holds, errors are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thinkube.errors import AccessDenied
from thinkube.services.kubernetes_api import KubernetesApi, Refused, log_path

from .conftest import TestCluster

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def test_a_pod_runs_and_its_log_is_read(
    api: KubernetesApi, cluster: TestCluster, eventually: Callable[..., None]
) -> None:
    container = {
        "name": "main",
        "image": f"{cluster.registry}/base/python:3.11",
        "command": ["python3", "-c", "import os; print('user', os.getuid())"],
        "securityContext": RESTRICTED,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "hello"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    api.apply(pod)
    eventually(lambda: (api.get("Pod", "hello") or {})["status"]["phase"] == "Succeeded", 120)
    assert list(api.lines(log_path("hello", api.namespace))) == ["user 65532"]


def test_a_pod_that_is_not_restricted_is_refused(api: KubernetesApi) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "main", "image": "any", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises((Refused, AccessDenied), match="violates PodSecurity"):
        api.apply(pod, dry_run=True)


def test_a_workflow_runs_on_argo(
    api: KubernetesApi, cluster: TestCluster, eventually: Callable[..., None]
) -> None:
    _let_workflows_run(api)
    step = {
        "name": "main",
        "container": {
            "image": f"{cluster.registry}/base/python:3.11",
            "command": ["python3", "-c", "open('/tmp/accuracy', 'w').write('0.93')"],
            "securityContext": RESTRICTED,
        },
        "outputs": {"parameters": [{"name": "accuracy", "valueFrom": {"path": "/tmp/accuracy"}}]},
    }
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "hello-"},
        "spec": {
            "serviceAccountName": "runner",
            "entrypoint": "main",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "templates": [step],
        },
    }
    name = api.create(workflow)["metadata"]["name"]

    def ended() -> bool:
        status = (api.get("Workflow", name) or {}).get("status") or {}
        assert status.get("phase") not in ("Failed", "Error"), status.get("message")
        return bool(status.get("phase") == "Succeeded")

    eventually(ended, 180)
    nodes = (api.get("Workflow", name) or {})["status"]["nodes"]
    [parameter] = nodes[name]["outputs"]["parameters"]
    assert parameter["value"] == "0.93"


def _let_workflows_run(api: KubernetesApi) -> None:
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner"}})
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "runner"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "argo-executor",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "runner", "namespace": api.namespace}],
        }
    )
