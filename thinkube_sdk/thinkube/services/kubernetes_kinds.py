"""Where the Kubernetes API keeps the kinds of objects that Thinkube uses."""

from __future__ import annotations

from thinkube.model.errors import UsageError

# Kind to group with version, plural, and whether it lives in a namespace.
_KINDS = {
    "Namespace": ("v1", "namespaces", False),
    "Node": ("v1", "nodes", False),
    "PersistentVolume": ("v1", "persistentvolumes", False),
    "Pod": ("v1", "pods", True),
    "Service": ("v1", "services", True),
    "ServiceAccount": ("v1", "serviceaccounts", True),
    "ConfigMap": ("v1", "configmaps", True),
    "Secret": ("v1", "secrets", True),
    "Event": ("v1", "events", True),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims", True),
    "ResourceQuota": ("v1", "resourcequotas", True),
    "LimitRange": ("v1", "limitranges", True),
    "Deployment": ("apps/v1", "deployments", True),
    "ReplicaSet": ("apps/v1", "replicasets", True),
    "StatefulSet": ("apps/v1", "statefulsets", True),
    "Job": ("batch/v1", "jobs", True),
    "CronJob": ("batch/v1", "cronjobs", True),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets", True),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers", True),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies", True),
    "Ingress": ("networking.k8s.io/v1", "ingresses", True),
    "IngressClass": ("networking.k8s.io/v1", "ingressclasses", False),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "httproutes", True),
    "GatewayClass": ("gateway.networking.k8s.io/v1", "gatewayclasses", False),
    "Role": ("rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings", True),
    "Lease": ("coordination.k8s.io/v1", "leases", True),
    "Workflow": ("argoproj.io/v1alpha1", "workflows", True),
    "WorkflowTemplate": ("argoproj.io/v1alpha1", "workflowtemplates", True),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions", False),
}


def api_version(kind: str) -> str:
    """What `apiVersion` says for a kind."""
    return _KINDS[kind][0]


def path_of(kind: str, namespace: str, name: str = "") -> str:
    """The path of an object, or of all of a kind; over all namespaces with `*` or an empty one.

    Example:
        >>> path_of("Pod", "team", "a"), path_of("Deployment", "*"), path_of("Node", "team")
        ('/api/v1/namespaces/team/pods/a', '/apis/apps/v1/deployments', '/api/v1/nodes')
    """
    if kind not in _KINDS:
        raise UsageError(f"Thinkube knows no Kubernetes kind {kind!r}.", f"Known: {', '.join(_KINDS)}.")
    group, plural, namespaced = _KINDS[kind]
    root = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    inside = f"/namespaces/{namespace}" if namespaced and namespace not in ("", "*") else ""
    return f"{root}{inside}/{plural}" + (f"/{name}" if name else "")
