"""The objects of a deployment: strict, restricted, without secrets, with just the network that they need."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import thinkube as tk
from thinkube.model.release import Release
from thinkube.services.kubernetes_api import KubernetesApi
from thinkube.targets.deploy import dry_run, export
from thinkube.targets.kubernetes import manifests, plan
from thinkube.targets.kubernetes.plan import Egress, Plan, Route
from thinkube.targets.kubernetes.reference import parse
from thinkube.targets.kubernetes.registry import Registry

from . import agents
from .policies import lets_out

CANARY = "canary-5d1f0c77e2"


def full(namespace: str) -> Plan:
    """A plan with everything a plan can have."""
    return Plan(
        "docs-agent",
        namespace,
        f"registry.example.org/team/docs-agent@sha256:{'0' * 64}",
        Release("docs-agent", 3, "0" * 64, 1.0, "", None, {"notebook": "Docs (v2).ipynb"}),
        owner="ada@example.org",
        settings={"MLFLOW_TRACKING_URI": "http://mlflow.mlflow.svc:5000"},
        secret="docs-agent-1",
        secrets=("LITELLM_API_KEY",),
        egress=(
            Egress(5000, "mlflow", {"app": "mlflow"}),
            Egress(443, block="0.0.0.0/0", beside=("10.0.0.0/8",)),
        ),
        replicas=2,
        most=5,
        pull_secret="pull",
        route=Route("docs-agent.example.org"),
    )  # fmt: skip


def test_every_object_passes_strict_validation_and_restricted_pod_security(api: KubernetesApi) -> None:
    wanted = full(api.namespace)
    for each in manifests.objects(wanted):
        api.apply(each, dry_run=True)
    # A Deployment is only warned about: what is refused are its pods.
    template = manifests.deployment(wanted)["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "trial", "namespace": api.namespace}
    api.apply(manifests.service_account(wanted))
    api.apply(pod, dry_run=True)


def test_pods_are_as_a_linter_wants_them() -> None:
    spec = manifests.deployment(full("team"))["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert "@sha256:" in container["image"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not spec["automountServiceAccountToken"]
    assert not any(key in spec for key in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_a_plan_is_read_as_it_was_written() -> None:
    wanted = full("team")
    assert plan.read(plan.write(wanted), "the Deployment docs-agent") == wanted


def test_the_network_is_open_to_what_is_used_and_to_nothing_else() -> None:
    policy = manifests.network_policy(full("team"))
    assert lets_out(policy, 5000, namespace="mlflow", pods={"app": "mlflow", "tier": "web"})
    assert lets_out(policy, 53, namespace="kube-system", protocol="UDP")
    assert lets_out(policy, 443, address="93.184.216.34")
    assert not lets_out(policy, 5000, namespace="mlflow", pods={"app": "postgres"})
    assert not lets_out(policy, 5000, namespace="other", pods={"app": "mlflow"})
    assert not lets_out(policy, 5432, namespace="mlflow", pods={"app": "mlflow"})
    assert not lets_out(policy, 443, address="10.96.0.1")
    assert not lets_out(policy, 80, address="93.184.216.34")
    assert not lets_out(policy, 80, address="169.254.169.254")


def test_services_of_the_cluster_reach_a_pod_as_variables_secrets_and_policy(
    tmp_path: Path, context: str, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = {"ports": [{"name": "api", "port": 80, "targetPort": 4000}], "selector": {"app": "litellm"}}
    metadata = {"name": "litellm"}
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    monkeypatch.setenv("LITELLM_ENDPOINT", f"http://litellm.{api.namespace}.svc")
    monkeypatch.setenv("LITELLM_API_KEY", CANARY)
    source = tmp_path / "agent.py"
    source.write_text(
        "import os\nimport thinkube as tk\n\n\ndef agent(text: str) -> str:\n"
        "    return os.environ['PASSWORD'] + tk.openai().base_url.host\n"
    )
    given = {"object": "agent", "name": "docs", "on": context, "progress": lambda _: None}
    told = dry_run(source, secrets={"PASSWORD": CANARY}, **given)  # type: ignore[arg-type]
    assert CANARY not in told
    made = {each["kind"]: each for each in yaml.safe_load_all(told)}
    env = {
        each["name"]: each for each in made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert env["LITELLM_ENDPOINT"]["value"] == f"http://litellm.{api.namespace}.svc"
    assert env["PASSWORD"]["valueFrom"]["secretKeyRef"]["key"] == "PASSWORD"
    assert env["LITELLM_API_KEY"]["valueFrom"]["secretKeyRef"]["key"] == "LITELLM_API_KEY"
    assert lets_out(made["NetworkPolicy"], 4000, namespace=api.namespace, pods={"app": "litellm"})
    assert not lets_out(made["NetworkPolicy"], 80, namespace=api.namespace, pods={"app": "litellm"})
    assert api.get("Deployment", "docs") is None


def test_a_secret_is_in_no_object_image_or_export(
    tmp_path: Path, context: str, api: KubernetesApi, cluster: Any
) -> None:
    path = agents.plain(tmp_path, "os.environ['PASSWORD'][:6]")
    name = f"keeper-{context}"
    deployed = tk.deploy(
        path, object="agent", name=name, on=context, secrets={"PASSWORD": CANARY}, timeout=240.0,
        progress=lambda _: None,
    )  # fmt: skip
    assert deployed.ask("hello") == "canary: hello"  # the pod has it

    for kind in ("Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap", "NetworkPolicy", "Event"):
        assert CANARY not in json.dumps(api.list(kind)), kind
    [secret] = [each for each in api.list("Secret") if "PASSWORD" in each.get("data", {})]
    assert secret["immutable"]
    image = (api.get("Deployment", name) or {})["spec"]["template"]["spec"]["containers"][0]["image"]
    assert CANARY.encode() not in everything(cluster.registry, image)

    files = export(name, tmp_path / "exported", context)
    assert all(CANARY not in file.read_text() for file in files)
    listed = yaml.safe_load((tmp_path / "exported" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(file.name for file in files if file.name != "kustomization.yaml")
    for file in files:
        for each in yaml.safe_load_all(file.read_text()):
            if each["kind"] != "Kustomization":
                api.apply(each, dry_run=True)


def everything(registry: str, image: str) -> bytes:
    """An image's configuration and the content of its own layers, beside those of the runtime image."""
    reference = parse(image)
    with Registry(registry) as source:
        stored = source.manifest(reference)
        assert stored is not None
        content = [
            json.dumps(stored.content).encode(),
            source.blob(reference.repository, stored.content["config"]["digest"]),
        ]
        for layer in stored.content["layers"][-2:]:
            packed = gzip.decompress(source.blob(reference.repository, layer["digest"]))
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                names = [entry.name for entry in archive]
            content += [packed, "\n".join(names).encode()]
        assert "app/thinkube.yaml" in names
    return b"\n".join(content)


def test_drift_is_shown(tmp_path: Path, context: str, api: KubernetesApi) -> None:
    from thinkube.targets.place import target_of

    target = target_of(context)
    name = f"drifter-{context}"
    tk.deploy(
        agents.plain(tmp_path, "'first'"), object="agent", name=name, on=context, timeout=240.0,
        progress=lambda _: None,
    )  # fmt: skip
    assert target.drift(name) == []  # type: ignore[attr-defined]
    labels = {"app.kubernetes.io/managed-by": "someone"}
    api.patch("Service", name, {"metadata": {"labels": labels}})
    api.delete("PodDisruptionBudget", name)
    shown = target.drift(name)  # type: ignore[attr-defined]
    assert f"Service {name}: metadata.labels.app.kubernetes.io/managed-by" in shown
    assert any(line.startswith(f"PodDisruptionBudget {name}: ") for line in shown)
