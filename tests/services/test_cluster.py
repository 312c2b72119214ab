"""The convention of existing Thinkube clusters: from their objects to Endpoints."""

from __future__ import annotations

import base64
from typing import Any

from thinkube.model.endpoint import Credential
from thinkube.services.cluster import read

LITELLM = """\
service:
  name: litellm
  display_name: "LiteLLM"
  description: "Unified LLM API proxy with load balancing and cost tracking"
  type: optional
  category: ai
  icon: /icons/tk_ai.svg
  component_version: "0.1.0"
  endpoints:
    - name: dashboard
      type: http
      url: "https://litellm.example.com/ui"
      health_url: "https://litellm.example.com/health/readiness"
      primary: true
    - name: api
      type: http
      url: "https://litellm.example.com/v1"
      description: "OpenAI-compatible API endpoint"
  dependencies: []
  scaling: {resource_type: deployment, resource_name: litellm, namespace: litellm, min_replicas: 1}
"""
NATS = """\
service:
  name: nats
  type: optional
  endpoints:
    - {name: monitoring, type: http, url: "https://nats.example.com", primary: true}
    - {name: client, type: tcp, url: "nats.example.com:4222", primary: false}
    - {name: internal-client, type: internal, url: "nats://nats.nats.svc.cluster.local:4222"}
    - {name: internal-monitor, type: internal, url: "http://nats.nats.svc.cluster.local:8222"}
"""
LANGFUSE = """\
service:
  name: langfuse
  endpoints:
    - {name: web, type: http, url: "https://langfuse.example.com", primary: true}
  environment_variables:
    - name: LANGFUSE_HOST
      value: "https://langfuse.example.com"
    - name: LANGFUSE_PUBLIC_KEY
      value: "pk-lf-1"
    - name: LANGFUSE_SECRET_KEY
      secretKeyRef: {name: langfuse-config, key: LANGFUSE_INIT_PROJECT_SECRET_KEY}
"""


def config_map(namespace: str, text: str | None, name: str = "thinkube-service-config") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"thinkube.io/managed": "true", "thinkube.io/service-name": namespace},
        },
        "data": {} if text is None else {"service.yaml": text},
    }


def secret(namespace: str, name: str, **values: str) -> dict[str, Any]:
    packed = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": packed}


LANGFUSE_SECRET = secret("langfuse", "langfuse-config", LANGFUSE_INIT_PROJECT_SECRET_KEY="sk-lf-1")


def test_programs_get_the_api_and_not_the_dashboard():
    endpoint = read([config_map("litellm", LITELLM)], cluster="lab").endpoints["llm"]
    assert endpoint.url == "https://litellm.example.com/v1"
    assert endpoint.source == "the ConfigMap litellm/thinkube-service-config of lab"


def test_inside_and_outside_the_cluster():
    objects = [config_map("nats", NATS)]
    assert read(objects).endpoints["nats"].url == "nats://nats.example.com:4222"
    inside = read(objects, inside=True).endpoints["nats"]
    assert inside.url == "nats://nats.nats.svc.cluster.local:4222"


def test_environment_variables_give_url_and_credential_together():
    found = read([config_map("langfuse", LANGFUSE)], secrets=[LANGFUSE_SECRET])
    endpoint = found.endpoints["langfuse"]
    assert endpoint.url == "https://langfuse.example.com"
    assert endpoint.credential == Credential("sk-lf-1", "pk-lf-1")
    assert "sk-lf-1" not in repr(found)


def test_a_secret_of_another_namespace_and_the_pods_own_form():
    text = LITELLM + (
        "  environment_variables:\n"
        "    - {name: LITELLM_ENDPOINT, value: 'https://litellm.example.com'}\n"
        "    - name: LITELLM_MASTER_KEY\n"
        "      valueFrom: {secretKeyRef: {name: keys, namespace: vault, key: master}}\n"
    )
    endpoint = read([config_map("litellm", text)], secrets=[secret("vault", "keys", master="sk-m")])
    assert endpoint.endpoints["llm"].credential == Credential("sk-m")
    assert endpoint.endpoints["llm"].url == "https://litellm.example.com"


def test_a_secret_that_may_not_be_read_affects_its_service_alone():
    found = read([config_map("langfuse", LANGFUSE), config_map("nats", NATS)])
    assert set(found.endpoints) == {"nats"}
    (problem,) = found.problems.values()
    assert "LANGFUSE_INIT_PROJECT_SECRET_KEY of the Secret langfuse/langfuse-config" in problem


def test_broken_yaml_affects_that_service_alone():
    broken = {
        "litellm": LITELLM.replace("type: optional", 'type: "optional'),
        "mlflow": "service:\n\t- name: mlflow\n",
        "qdrant": "- a list\n",
        "minio": "service: {name: minio, endpoints: everywhere}\n",
        "weaviate": None,
    }
    objects = [config_map(namespace, text) for namespace, text in broken.items()]
    found = read([*objects, config_map("nats", NATS)])
    assert set(found.endpoints) == {"nats"}
    assert set(found.problems) == {f"{namespace}/thinkube-service-config" for namespace in broken}
    assert "line 2 is not valid YAML" in found.problems["mlflow/thinkube-service-config"]
    assert "no mapping `service`" in found.problems["qdrant/thinkube-service-config"]
    assert "not a list of mappings" in found.problems["minio/thinkube-service-config"]


def test_a_url_that_is_none_affects_its_service_alone():
    text = LANGFUSE.replace('value: "https://langfuse.example.com"', 'value: "ftp://langfuse"')
    found = read([config_map("langfuse", text), config_map("nats", NATS)], secrets=[LANGFUSE_SECRET])
    assert set(found.endpoints) == {"nats"}
    assert "does not hold a URL of Langfuse" in found.problems["langfuse/thinkube-service-config"]


def test_what_no_client_talks_to_is_no_problem():
    keycloak = "service: {name: keycloak, endpoints: [{name: web, url: 'https://auth.example.com'}]}"
    found = read([config_map("keycloak", keycloak), config_map("nats", NATS, name="kube-root-ca.crt")])
    assert not found.endpoints
    assert not found.problems


def service(name: str, managed: str, *ports: dict[str, Any]) -> dict[str, Any]:
    labels = {"thinkube.io/managed": managed, "thinkube.io/service-name": name}
    return {"metadata": {"name": name, "namespace": "data", "labels": labels}, "spec": {"ports": list(ports)}}


def test_labelled_services_are_found_inside_the_cluster():
    services = [
        service("qdrant", "true", {"name": "grpc", "port": 6334}, {"name": "http", "port": 6333}),
        service("nats", "false", {"name": "client", "port": 4222}),
        service("minio", "true"),
    ]
    found = read([], services, inside=True)
    assert {name: each.url for name, each in found.endpoints.items()} == {
        "qdrant": "http://qdrant.data.svc:6333"
    }
    assert not read([], services).endpoints, "such a name means nothing outside"
    both = read([config_map("nats", NATS)], [service("nats", "true", {"port": 4222})], inside=True)
    assert both.endpoints["nats"].source.startswith("the ConfigMap")
