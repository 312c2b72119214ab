"""The log lines of a deployment's pods, oldest first, and those to come."""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Iterator

from thinkube.services.kubernetes_api import KubernetesApi, Object, log_path

LOOK_SECONDS = 1.0


def pod_lines(api: KubernetesApi, labels: str, follow: bool) -> Iterator[str]:
    """The lines of all pods, in the order they were logged; with `follow` also those of pods to come."""
    if follow:
        yield from _followed(api, labels)
        return
    logs = [_timed(api, pod) for pod in api.list("Pod", labels=labels) if _logs(pod)]
    for _, line in heapq.merge(*logs):
        yield line


def _timed(api: KubernetesApi, pod: Object) -> Iterator[tuple[str, str]]:
    for stamped in api.lines(log_path(pod["metadata"]["name"], api.namespace), [("timestamps", "true")]):
        moment, _, line = stamped.partition(" ")
        yield moment, line


def _followed(api: KubernetesApi, labels: str) -> Iterator[str]:
    """Each pod's lines as they come, until the deployment is gone."""
    lines: queue.Queue[str] = queue.Queue()
    seen: set[str] = set()

    def read(pod: str) -> None:
        for line in api.lines(log_path(pod, api.namespace), [("follow", "true")]):
            lines.put(line)

    looked = 0.0
    while True:
        if time.monotonic() - looked > LOOK_SECONDS:
            looked, pods = time.monotonic(), api.list("Pod", labels=labels)
            if seen and not pods and lines.empty():
                return
            for pod in pods:
                uid = pod["metadata"]["uid"]
                if uid not in seen and _logs(pod):
                    seen.add(uid)
                    threading.Thread(target=read, args=(pod["metadata"]["name"],), daemon=True).start()
        try:
            yield lines.get(timeout=LOOK_SECONDS / 4)
        except queue.Empty:
            continue


def _logs(pod: Object) -> bool:
    """Whether a pod's container has begun, so that it has a log."""
    statuses = pod["status"].get("containerStatuses") or []
    return any(not each["state"].get("waiting") or each.get("restartCount") for each in statuses)
