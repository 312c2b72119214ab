"""A plan as Kubernetes objects, fit for Pod Security's level `restricted`."""

from __future__ import annotations

import hashlib
from typing import Any

from thinkube.model.settings import CONTEXT, KEYS, REQUEST_SECONDS
from thinkube.services.contexts import LOCAL
from thinkube.services.kubernetes_kinds import api_version
from thinkube.targets.kubernetes.image import PORT
from thinkube.targets.kubernetes.plan import ANNOTATION, Egress, Plan, write

Object = dict[str, Any]

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
OWNER = "thinkube.io/owner"
SELECTOR = f"{MANAGED_BY}=thinkube,{COMPONENT}=agent"
# What an agent is made of, in the order it is made.
KINDS = (
    "ServiceAccount", "NetworkPolicy", "Service", "Deployment", "PodDisruptionBudget",
    "HorizontalPodAutoscaler", "HTTPRoute", "Ingress",
)  # fmt: skip
WORK = "/work"
REPORT = "/dev/termination-log"
KEYS_FILE = "keys.json"
KEYS_FOLDER = "/keys"
# How long a pod that is to end still takes connections, until every node knows of it.
LEAVE_SECONDS = 5
_WORK_BYTES = "1Gi"
_CPU_TARGET = 70  # percent of what is asked for, where the autoscaler adds a pod


def objects(plan: Plan) -> list[Object]:
    """Every object of a plan, in the order it is made."""
    made = [service_account(plan), network_policy(plan), service(plan), deployment(plan), budget(plan)]
    if plan.most > plan.replicas:
        made.append(autoscaler(plan))
    if plan.route is not None:
        made.append(route(plan) if plan.route.gateway else ingress(plan))
    return made


def keys_secret(name: str) -> str:
    """The Secret that holds the digests of a deployment's keys."""
    return f"{name}-keys"


def service_account(plan: Plan) -> Object:
    """An identity without a token: an agent has no business with the cluster's API."""
    return {**_head("ServiceAccount", plan), "automountServiceAccountToken": False}


def service(plan: Plan) -> Object:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}]
    return {**_head("Service", plan), "spec": {"selector": _selector(plan), "ports": ports}}


def deployment(plan: Plan) -> Object:
    head = _head("Deployment", plan)
    head["metadata"]["annotations"] = {ANNOTATION: write(plan)}
    spec = {
        "selector": {"matchLabels": _selector(plan)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": int(plan.timeout) + 60,
        "template": {"metadata": {"labels": _labels(plan)}, "spec": _pod(plan)},
    }
    if plan.most <= plan.replicas:  # else the autoscaler decides
        spec["replicas"] = plan.replicas
    return {**head, "spec": spec}


def _pod(plan: Plan) -> Object:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selector(plan)},
    }
    spec: Object = {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        # A run in progress gets its time, after the pod has left the Service.
        "terminationGracePeriodSeconds": int(float(REQUEST_SECONDS.default)) + LEAVE_SECONDS + 15,
        "containers": [_container(plan)],
        "volumes": [
            {"name": "work", "emptyDir": {"sizeLimit": _WORK_BYTES}},
            {"name": "tmp", "emptyDir": {"sizeLimit": _WORK_BYTES}},
            # Without it the agent runs, and takes no key.
            {"name": "keys", "secret": {"secretName": keys_secret(plan.name), "optional": True}},
        ],
    }
    if plan.pull_secret:
        spec["imagePullSecrets"] = [{"name": plan.pull_secret}]
    return spec


def _container(plan: Plan) -> Object:
    # The variables name every service: nothing is to be looked up with a token that the pod hasn't.
    own = {
        "HOME": "/tmp",
        "THINKUBE_HOME": "/tmp/thinkube",
        CONTEXT.variable: LOCAL,
        KEYS.variable: f"{KEYS_FOLDER}/{KEYS_FILE}",
    }
    plain = {**plan.settings, **own}
    env: list[Object] = [{"name": name, "value": value} for name, value in sorted(plain.items())]
    env += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": plan.secret, "key": name}}}
        for name in plan.secrets
    ]

    def probe(path: str, period: int, failures: int) -> Object:
        get = {"path": path, "port": "http"}
        return {
            "httpGet": get,
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": min(period, 5),
        }

    return {
        "name": "agent",
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        # After the image's own command: what belongs to the release and not to the image.
        "args": [
            "--name",
            plan.name,
            "--release",
            str(plan.release.version),
            "--work",
            WORK,
            "--report",
            REPORT,
        ],
        "env": env,
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": probe("/healthz", 1, max(1, int(plan.timeout))),
        "readinessProbe": probe("/readyz", 2, 2),
        "livenessProbe": probe("/healthz", 10, 6),
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "resources": {
            "requests": {"cpu": plan.cpu, "memory": plan.memory},
            "limits": {"memory": plan.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": REPORT,
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "keys", "mountPath": KEYS_FOLDER, "readOnly": True},
        ],
    }


def network_policy(plan: Plan) -> Object:
    """Requests come in on the agent's port; out it goes to the services that it uses, and to DNS."""
    dns = {
        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    spec = {
        "podSelector": {"matchLabels": _selector(plan)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": [dns, *(_egress(each) for each in plan.egress)],
    }
    return {**_head("NetworkPolicy", plan), "spec": spec}


def _egress(each: Egress) -> Object:
    if each.block:
        block = {"cidr": each.block, **({"except": list(each.beside)} if each.beside else {})}
        peer: Object = {"ipBlock": block}
    else:
        peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": each.namespace}}}
        peer |= {"podSelector": {"matchLabels": dict(each.pods)}}
    return {"to": [peer], "ports": [{"protocol": "TCP", "port": each.port}]}


def budget(plan: Plan) -> Object:
    """A drained node takes one pod at a time."""
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": _selector(plan)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {**_head("PodDisruptionBudget", plan), "spec": spec}


def autoscaler(plan: Plan) -> Object:
    target = {"type": "Utilization", "averageUtilization": _CPU_TARGET}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
        "minReplicas": plan.replicas,
        "maxReplicas": plan.most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {**_head("HorizontalPodAutoscaler", plan), "spec": spec}


def route(plan: Plan) -> Object:
    assert plan.route is not None
    namespace, _, name = plan.route.gateway.rpartition("/")
    parent = {"name": name, **({"namespace": namespace} if namespace else {})}
    backend = {"backendRefs": [{"name": plan.name, "port": 80}]}
    spec = {"parentRefs": [parent], "hostnames": [plan.route.host], "rules": [backend]}
    return {**_head("HTTPRoute", plan), "spec": spec}


def ingress(plan: Plan) -> Object:
    assert plan.route is not None
    backend = {"service": {"name": plan.name, "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        **_head("Ingress", plan),
        "spec": {"rules": [{"host": plan.route.host, "http": {"paths": [path]}}]},
    }


def _head(kind: str, plan: Plan) -> Object:
    metadata = {"name": plan.name, "namespace": plan.namespace, "labels": _labels(plan)}
    return {"apiVersion": api_version(kind), "kind": kind, "metadata": metadata}


def _selector(plan: Plan) -> dict[str, str]:
    return {NAME: plan.name, COMPONENT: "agent"}


def _labels(plan: Plan) -> dict[str, str]:
    labels = {**_selector(plan), MANAGED_BY: "thinkube"}
    return {**labels, OWNER: label(plan.owner)} if plan.owner else labels


def label(text: str) -> str:
    """A text as the value of a label: what does not fit is replaced, and a long one told apart by its digest.

    Example:
        >>> label("ada"), label("ada@example.org"), label("-ä-")
        ('ada', 'ada_example.org', 'x')
    """
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in text)
    plain = plain.strip("-_.") or "x"
    if len(plain) <= 63:
        return plain
    return f"{plain[:54]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
