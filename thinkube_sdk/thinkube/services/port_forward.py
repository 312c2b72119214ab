"""A cluster's Service on a port of this machine, through the API, for as long as this process runs."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from typing import Any

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceUnreachable
from thinkube.services.kubernetes_api import KubernetesApi, Object
from thinkube.services.table import Service

_PIECE = 65536
_open: dict[tuple[str, str, str], int] = {}
_lock = threading.Lock()


def forwarded(api: KubernetesApi, entry: Service, service: Object, place: str) -> Endpoint:
    """An endpoint on this machine that leads to a Service.

    Raises:
        ServiceUnreachable: no pod of it is ready.
    """
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    with _lock:
        key = (api.server, namespace, name)
        if key not in _open:
            _open[key] = _listen(api, service)
        port = _open[key]
    source = f"the Service {namespace}/{name} of {place}, through a port of this machine"
    url = f"{entry.schemes[0]}://127.0.0.1:{port}"
    return Endpoint(entry.name, url, None, source, backend=entry.name)


def _listen(api: KubernetesApi, service: Object) -> int:
    _target(api, service)  # whoever asks is told now, and not at the first request
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(api, service, listener), daemon=True).start()
    return int(listener.getsockname()[1])


def _accept(api: KubernetesApi, service: Object, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_relay, args=(api, service, connection), daemon=True).start()


def _relay(api: KubernetesApi, service: Object, near: socket.socket) -> None:
    """Both ways, until one side closes."""
    from kubernetes.client import CoreV1Api
    from kubernetes.stream import portforward

    with near, contextlib.suppress(OSError, ServiceUnreachable):
        pod, port = _target(api, service)  # each connection anew: pods come and go
        namespace = service["metadata"]["namespace"]
        connect = CoreV1Api(api.client).connect_get_namespaced_pod_portforward
        far: Any = portforward(connect, pod, namespace, ports=str(port)).socket(port)
        try:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    piece = ready.recv(_PIECE)
                    if not piece:
                        return
                    (far if ready is near else near).sendall(piece)
        finally:
            far.close()


def _target(api: KubernetesApi, service: Object) -> tuple[str, int]:
    """A ready pod of a Service, and the port that it listens on."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    selector = (service["spec"].get("selector") or {}).items()
    wanted = service["spec"]["ports"][0]
    for pod in api.list("Pod", namespace, labels=",".join(f"{key}={value}" for key, value in selector)):
        conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions") or []}
        if conditions.get("Ready") != "True" or pod["metadata"].get("deletionTimestamp"):
            continue
        target = wanted.get("targetPort", wanted["port"])
        ports = [each for container in pod["spec"]["containers"] for each in container.get("ports") or []]
        numbers = [each["containerPort"] for each in ports if each.get("name") == target]
        return str(pod["metadata"]["name"]), int(numbers[0] if numbers else target)
    raise ServiceUnreachable(
        f"The Service {namespace}/{name} has no pod that is ready.",
        f"`kubectl -n {namespace} get pods` shows why.",
    )
