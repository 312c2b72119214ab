"""Watch a Deployment's new pods until they serve, or say within seconds why they won't."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from thinkube.model.errors import AccessDenied
from thinkube.services.kubernetes_api import KubernetesApi, Object, Refused, log_path
from thinkube.targets.failure import Failure
from thinkube.targets.lines import parsed

REVISION = "deployment.kubernetes.io/revision"
TAIL = 20
LOOK_SECONDS = 0.25
# A cluster that can grow takes a moment to say that it does.
ROOM_SECONDS = 5.0

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONTAINER = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_FIXES = {
    "image": "Can the nodes pull from that registry? `pull` and `pull_secret` of the context say how.",
    "room": "Ask for less (cpu, memory), remove deployments that nobody uses, or add a node.",
    "quota": "Ask for less, or ask the namespace's administrator for more: `kubectl describe quota`.",
    "admission": "The cluster's rules forbid such a pod; its administrator knows them.",
    "probe": "Move slow work out of the import into a function, or allow more: timeout=600.",
    "memory": 'It needs more memory than it may use: memory="1Gi".',
    "container": "See the message; a Secret or key that is named there has to exist in the namespace.",
}


def new_pods(api: KubernetesApi, name: str, generation: int) -> tuple[Object, list[Object]] | None:
    """The Deployment and the pods of its newest template; None until its controller has seen the change."""
    deployment = api.get("Deployment", name)
    if deployment is None or deployment.get("status", {}).get("observedGeneration", 0) < generation:
        return None
    revision = deployment["metadata"]["annotations"].get(REVISION)
    labels = ",".join(
        f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items()
    )
    for replica_set in api.list("ReplicaSet", labels=labels):
        if replica_set["metadata"].get("annotations", {}).get(REVISION) == revision:
            owned = f"{labels},pod-template-hash={replica_set['metadata']['labels']['pod-template-hash']}"
            pods = api.list("Pod", labels=owned)
            return deployment, [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return deployment, []


def wait(
    api: KubernetesApi,
    name: str,
    generation: int,
    timeout: float,
    done: Callable[[Object, list[Object]], bool],
) -> Failure | None:
    """Wait until what is wanted holds of a Deployment and its new pods; None when it does.

    Args:
        generation: the Deployment's, after the change.
        timeout: seconds.
    """
    deadline = time.monotonic() + timeout
    no_room = float("inf")
    while True:
        seen = new_pods(api, name, generation)
        if seen is not None:
            deployment, pods = seen
            if done(deployment, pods):
                return None
            if failure := _refused(deployment) or _broken(api, pods):
                return failure
            reason = _no_room(api, pods)
            no_room = min(no_room, time.monotonic()) if reason else float("inf")
            if time.monotonic() - no_room > ROOM_SECONDS:
                return Failure("cluster", "", f"no node has room for it: {reason}", fix=_FIXES["room"])
        if time.monotonic() > deadline:
            return _late(api, seen[1] if seen else [], timeout)
        time.sleep(LOOK_SECONDS)


def ready(pod: Object) -> bool:
    """Whether a pod takes requests."""
    conditions = pod["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def complete(deployment: Object, pods: list[Object]) -> bool:
    """Whether all of a Deployment's pods are new ones that take requests."""
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    counted = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return counted == [wanted] * 3 and sum(map(ready, pods)) >= wanted


def kind_of(api: KubernetesApi, pod: Object) -> str:
    """The kind of object that a pod says it serves; empty where its log can't be read."""
    with contextlib.suppress(AccessDenied, Refused):
        for line in api.lines(log_path(pod["metadata"]["name"], api.namespace)):
            entry = parsed(line)
            if entry is not None and entry["message"] == "started":
                return str(entry.get("kind", ""))
    return ""


def _refused(deployment: Object) -> Failure | None:
    """The cluster lets no pod be made: a quota, Pod Security, an admission rule."""
    for condition in deployment["status"].get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = str(condition.get("message", ""))
            fix = _FIXES["quota" if "quota" in message else "admission"]
            return Failure("cluster", "", f"the cluster allows no pod of it: {message}", fix=fix)
    return None


def _broken(api: KubernetesApi, pods: list[Object]) -> Failure | None:
    """A pod whose image can't be pulled, whose container can't be made, or that has crashed."""
    for pod in pods:
        for status in pod["status"].get("containerStatuses") or []:
            waiting = status["state"].get("waiting") or {}
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if reason in _IMAGE:
                told = f"the image {status['image']} can't be pulled ({reason}): {message}"
                return Failure("cluster", "", told, fix=_FIXES["image"])
            if reason in _CONTAINER:
                return Failure("cluster", "", f"{reason}: {message}", fix=_FIXES["container"])
            ended = status["state"].get("terminated") or status.get("lastState", {}).get("terminated")
            if ended:
                return _crashed(api, pod, ended)
        if pod["status"].get("phase") == "Failed" and not pod["status"].get("containerStatuses"):
            told = pod["status"].get("message") or pod["status"].get("reason") or "its pod failed"
            return Failure("cluster", "", str(told), fix=_FIXES["room"])
    return None


def _crashed(api: KubernetesApi, pod: Object, ended: Mapping[str, Any]) -> Failure:
    """Its own report where it wrote one, else how it ended; with its last log lines."""
    tail = _tail(api, pod, ended)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        report = json.loads(ended["message"])
        return Failure("raised", report["error"], report["message"], tuple(report["frames"]), tail)
    if ended.get("reason") == "OOMKilled":
        return Failure("cluster", "", "it used more memory than it may", tail=tail, fix=_FIXES["memory"])
    probe = _event(api, pod, "Unhealthy")
    if ended["exitCode"] in (137, 143) and probe:
        return Failure("cluster", "", f"it was ended: {probe}", tail=tail, fix=_FIXES["probe"])
    return Failure("exited", "", f"its process ended with code {ended['exitCode']}", tail=tail)


def _tail(api: KubernetesApi, pod: Object, ended: Mapping[str, Any]) -> tuple[str, ...]:
    """The last lines of the container that ended: the one before, once there is a new one."""
    name = pod["metadata"]["name"]
    [status] = pod["status"]["containerStatuses"]
    previous = status.get("containerID") != ended.get("containerID")
    query = [("tailLines", str(TAIL)), ("previous", "true" if previous else "false")]
    try:
        return tuple(api.text(log_path(name, api.namespace), query).splitlines())
    except (AccessDenied, Refused) as error:
        return (f"(its log can't be read: {error.cause})",)


def _no_room(api: KubernetesApi, pods: list[Object]) -> str:
    """Why the scheduler finds no node; empty where it does, or where a node is on its way."""
    for pod in pods:
        for condition in pod["status"].get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                if _event(api, pod, "TriggeredScaleUp"):
                    return ""
                return str(condition.get("message", "")) or str(condition.get("reason", ""))
    return ""


def _late(api: KubernetesApi, pods: list[Object], timeout: float) -> Failure:
    message = f"it was not ready after {timeout:g} s"
    for pod in pods:
        if not ready(pod):
            probe = _event(api, pod, "Unhealthy")
            tail = _tail(api, pod, {"containerID": _container_id(pod)}) if _container_id(pod) else ()
            return Failure("timeout", "", f"{message}: {probe}" if probe else message, tail=tail)
    return Failure("timeout", "", message)


def _container_id(pod: Object) -> str:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return str(statuses[0].get("containerID", ""))


def _event(api: KubernetesApi, pod: Object, reason: str) -> str:
    """The last message of an event of a pod, or nothing."""
    fields = f"involvedObject.uid={pod['metadata']['uid']},reason={reason}"
    with contextlib.suppress(AccessDenied):
        events = api.list("Event", fields=fields)
        return str(events[-1].get("message", reason)) if events else ""
    return ""
