"""Jobs of a cluster: each a line of workflows with one label, followed through the Kubernetes API."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from thinkube.model.errors import ConfigurationError, JobNotFound
from thinkube.services.kubernetes_api import KubernetesApi, Refused, log_path
from thinkube.targets.argo.workflow import JOB_LABEL
from thinkube.training.state import FORMAT, Phase, RunState

_PAUSE = 1.0
_WORKFLOW = "workflows.argoproj.io/workflow"
_OVER = ("Succeeded", "Failed", "Error")
_PHASES: Mapping[str, Phase] = {
    "prepare": "preparing",
    "train": "training",
    "evaluate": "evaluating",
    "register": "registering",
}
_OUTPUTS = {"result.json": "result", "evaluation.json": "evaluation", "returned.json": "returned"}


@dataclass(frozen=True)
class ArgoPlace:
    """One job of a cluster.

    Attributes:
        api: the cluster.
        name: the job's, which its workflows have as a label.
    """

    api: KubernetesApi
    name: str

    def state(self) -> RunState:
        workflow = self._last()
        status = workflow.get("status") or {}
        nodes = _nodes(workflow)
        if status.get("phase") in _OVER:
            return _ended(workflow, nodes)
        stage = _running(nodes)
        done, steps = _progress(stage)
        phase: Phase = "queued"
        if stage is not None:
            phase = _PHASES.get(stage["templateName"], "registering")
        note = str((stage or {}).get("message") or status.get("message") or "")
        return RunState(phase=phase, note=note, step=done, steps=steps, updated=time.time())

    def alive(self) -> bool:
        return (self._last().get("status") or {}).get("phase") not in _OVER

    def metrics(self) -> list[dict[str, float]]:
        """From MLflow, where the pods sent them."""
        from thinkube.services.discovery import find
        from thinkube.services.mlflow_rest import MlflowRest

        run = self.state().run
        if run is None:
            return []
        steps: dict[int, dict[str, float]] = {}
        with MlflowRest(find("mlflow", context=self.api.context.name)) as server:
            found = server.get("/runs/get", {"run_id": run})
            keys = [each["key"] for each in (found or {}).get("run", {}).get("data", {}).get("metrics", ())]
            for key in keys:
                query = {"run_id": run, "metric_key": key, "max_results": 25000}
                for point in (server.get("/metrics/get-history", query) or {}).get("metrics", ()):
                    step = int(point.get("step", 0))
                    steps.setdefault(step, {"step": step})[key] = point["value"]
        return [steps[step] for step in sorted(steps)]

    def document(self, name: str) -> dict[str, Any] | None:
        workflow = self._last()
        text = _output(_nodes(workflow), _OUTPUTS[name])
        if not text:
            return None
        return {**json.loads(text), "written": _seconds(workflow["status"].get("finishedAt"))}

    def number_of(self, _name: str) -> int:
        return 1

    def lines(self, follow: bool) -> Iterator[str]:
        """The logs of its pods, of every attempt, one after another."""
        told: set[str] = set()
        while True:
            alive = self.alive()
            for pod in self._pods():
                name, phase = pod["metadata"]["name"], pod["status"].get("phase")
                if name in told or phase in (None, "Pending"):
                    continue
                told.add(name)
                yield from self._pod_lines(name, follow)
            if not follow or not alive:
                return
            time.sleep(_PAUSE)

    def ask_to_stop(self) -> None:
        # `Stop` still runs the exit handler, which notes how it ended.
        self._patch({"spec": {"shutdown": "Stop"}})

    def kill(self) -> None:
        self._patch({"spec": {"shutdown": "Terminate"}})

    def resume(self) -> None:
        """One more workflow over the same folder: what is there is not done again."""
        last = self._last()
        spec = {key: value for key, value in last["spec"].items() if key != "shutdown"}
        labels = {
            key: value
            for key, value in last["metadata"]["labels"].items()
            if not key.startswith("workflows.argoproj.io/")
        }
        again = {
            "apiVersion": last["apiVersion"],
            "kind": "Workflow",
            "metadata": {"generateName": f"{self.name}-", "labels": labels},
            "spec": spec,
        }
        own(self.api, self.name, self.api.create(again))

    def described(self) -> dict[str, Any]:
        workflow = self._last()
        return {
            "on": self.api.context.name,
            "namespace": self.api.namespace,
            "workflow": workflow["metadata"]["name"],
        }

    def _last(self) -> dict[str, Any]:
        found = self.api.list("Workflow", labels=f"{JOB_LABEL}={self.name}")
        if not found:
            raise JobNotFound(
                f"There is no job {self.name} in {self.api.namespace} of {self.api.context.name}.",
                "It was deleted, or its time to live is over. MLflow has what it kept.",
            )
        return max(found, key=_age)

    def _pods(self) -> list[dict[str, Any]]:
        found = self.api.list("Pod", labels=f"{JOB_LABEL}={self.name}")
        return sorted((pod for pod in found if _WORKFLOW in pod["metadata"]["labels"]), key=_age)

    def _pod_lines(self, pod: str, follow: bool) -> Iterator[str]:
        query = [("container", "main"), *([("follow", "true")] if follow else [])]
        try:
            yield from self.api.lines(log_path(pod, self.api.namespace), query)
        except Refused as error:
            # Its container never started, or the pod is gone with its node.
            yield f"thinkube: {pod} has no log: {error.cause}"

    def _patch(self, change: dict[str, Any]) -> None:
        self.api.patch("Workflow", self._last()["metadata"]["name"], change)


def own(api: KubernetesApi, name: str, workflow: Mapping[str, Any]) -> None:
    """Have the cluster remove a job's payload and secret together with its latest workflow."""
    owner = {
        "apiVersion": workflow["apiVersion"],
        "kind": workflow["kind"],
        "name": workflow["metadata"]["name"],
        "uid": workflow["metadata"]["uid"],
    }
    for kind in ("ConfigMap", "Secret"):
        if api.get(kind, name) is not None:
            api.patch(kind, name, {"metadata": {"ownerReferences": [owner]}})


def names(api: KubernetesApi) -> list[str]:
    """The jobs of a cluster's namespace, oldest first."""
    found = sorted(api.list("Workflow", labels=JOB_LABEL), key=_age)
    return list(dict.fromkeys(each["metadata"]["labels"][JOB_LABEL] for each in found))


def _ended(workflow: dict[str, Any], nodes: list[dict[str, Any]]) -> RunState:
    status = workflow["status"]
    text = _output(nodes, "state")
    if text:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            raise ConfigurationError(
                "The pods run another version of Thinkube.", "Use the version of the job's image."
            )
        return RunState(**document)
    if workflow["spec"].get("shutdown"):
        return RunState(phase="stopped", note=str(status.get("message", "")))
    if status["phase"] == "Succeeded":
        return RunState(phase="finished")
    failed = [node for node in nodes if node.get("phase") in ("Failed", "Error") and node["type"] == "Pod"]
    reasons = "; ".join(f"{node['displayName']}: {node.get('message', '')}" for node in failed)
    cause = f"The workflow ended as {status['phase']}: {reasons or status.get('message', 'no reason given')}"
    error = {"type": "JobFailed", "cause": cause, "fix": "See job.logs(); job.resume() goes on."}
    return RunState(phase="failed", note=cause, error=error)


def _nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return list(((workflow.get("status") or {}).get("nodes") or {}).values())


def _running(nodes: list[dict[str, Any]]) -> dict[str, Any] | None:
    pods = [node for node in nodes if node["type"] == "Pod" and node.get("templateName") != "ended"]
    begun = [node for node in pods if node.get("phase") == "Running"]
    return max(begun or pods, key=lambda node: str(node.get("startedAt") or ""), default=None)


def _progress(node: dict[str, Any] | None) -> tuple[int, int]:
    done, _, steps = str((node or {}).get("progress") or "0/1").partition("/")
    # Argo's own count of a pod that reports nothing.
    return (0, 0) if steps == "1" else (int(done), int(steps))


def _output(nodes: list[dict[str, Any]], name: str) -> str:
    for node in nodes:
        for parameter in (node.get("outputs") or {}).get("parameters") or ():
            if parameter["name"] == name and parameter.get("value"):
                return str(parameter["value"])
    return ""


def _age(each: dict[str, Any]) -> tuple[str, str]:
    return str(each["metadata"]["creationTimestamp"]), str(each["metadata"]["name"])


def _seconds(stamp: str | None) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() if stamp else time.time()
