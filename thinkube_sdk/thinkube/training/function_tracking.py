"""The MLflow run of a training function, by MLflow's REST API: its environment may lack `mlflow`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from thinkube.model.errors import ServiceError, ServiceNotFound
from thinkube.services.discovery import find
from thinkube.services.mlflow_rest import MlflowRest, pairs
from thinkube.services.probe import verify

_EVERY = 1.0
_PATIENCE = 60.0
_TAG = 5000  # characters that MLflow keeps of a tag's value


class FunctionTracking:
    """One run, begun or taken up again. Metrics are sent at most once a second."""

    def __init__(self, server: MlflowRest, info: Mapping[str, Any], sent: Mapping[str, int]) -> None:
        self._server = server
        self.run = str(info["run_id"])
        self.experiment = str(info["experiment_id"])
        self._artifacts = str(info["artifact_uri"])
        self._sent = dict(sent)
        self._waiting: list[dict[str, Any]] = []
        self._last = 0.0
        self._lost = False

    def describe(
        self, parameters: Mapping[str, Any], tags: Mapping[str, str], files: Mapping[str, bytes]
    ) -> None:
        """Keep what decides the run: parameters, code, environment."""
        values = {
            key: json.dumps(value) if not isinstance(value, str) else value
            for key, value in parameters.items()
        }
        body = {
            "run_id": self.run,
            # MLflow keeps the first value of a parameter; a resumed run sends the same ones.
            "params": pairs({key: value[:6000] for key, value in values.items()}),
            "tags": pairs({key: value[:_TAG] for key, value in tags.items()}),
        }
        self._server.post("/runs/log-batch", body)
        for name, content in files.items():
            if not self._server.put_artifact(self._artifacts, name, content):
                break

    def keep(self, name: str, content: bytes) -> None:
        """Keep one more file with the run."""
        self._server.put_artifact(self._artifacts, name, content)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send one step's metrics; a step that is there from before a crash is not sent again."""
        now = time.time()
        self._waiting += [
            {"key": key, "value": value, "timestamp": int(now * 1000), "step": step}
            for key, value in values.items()
            if step > self._sent.get(key, -1)
        ]
        self._sent.update(dict.fromkeys(values, step))
        if now - self._last > _EVERY:
            self._flush()

    def drain(self) -> None:
        """Wait until every metric is there.

        Raises:
            ServiceError: MLflow does not take them.
        """
        deadline = time.monotonic() + _PATIENCE
        while not self._flush():
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"MLflow did not take {len(self._waiting)} metrics within {_PATIENCE:g} s.",
                    "They are in metrics.jsonl in the job's folder.",
                )
            time.sleep(1.0)

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._server.post(
            "/runs/update", {"run_id": self.run, "status": status, "end_time": int(time.time() * 1000)}
        )

    def _flush(self) -> bool:
        self._last = time.time()
        while self._waiting:
            batch = self._waiting[:1000]
            try:
                self._server.post("/runs/log-batch", {"run_id": self.run, "metrics": batch})
            except ServiceError as error:
                if not self._lost:
                    print(f"thinkube: {error.cause} Metrics wait until it is back.", flush=True)
                self._lost = True
                return False
            self._lost = False
            del self._waiting[: len(batch)]
        return True


def track(experiment: str, name: str, tags: Mapping[str, str], run: str | None) -> FunctionTracking | None:
    """Begin the run in MLflow, or take up the one begun before. None where no MLflow is known.

    Raises:
        ServiceUnreachable, CredentialRejected: MLflow is known and can't be used.
    """
    try:
        endpoint = find("mlflow")
    except ServiceNotFound:
        return None
    verify(endpoint)
    server = MlflowRest(endpoint)
    if run is None:
        body = {
            "experiment_id": _experiment(server, experiment),
            "run_name": name,
            "start_time": int(time.time() * 1000),
            "tags": pairs({"mlflow.source.type": "JOB", "thinkube.job": name, **tags}),
        }
        made = server.post("/runs/create", body)
        assert made is not None
        return FunctionTracking(server, made["run"]["info"], {})
    server.post("/runs/update", {"run_id": run, "status": "RUNNING"})
    found = server.get("/runs/get", {"run_id": run})
    if found is None:
        raise ServiceError(
            f"MLflow at {endpoint.url} has no run {run}, which this job began.", "Start a new job."
        )
    sent = {each["key"]: int(each["step"]) for each in found["run"]["data"].get("metrics", ())}
    return FunctionTracking(server, found["run"]["info"], sent)


def _experiment(server: MlflowRest, name: str) -> str:
    query = {"experiment_name": name}
    found = server.get("/experiments/get-by-name", query)
    if found is None:
        try:
            made = server.post("/experiments/create", {"name": name})
        except ServiceError:
            # Another job may have just made it.
            found = server.get("/experiments/get-by-name", query)
            if found is None:
                raise
        else:
            assert made is not None
            return str(made["experiment_id"])
    if found["experiment"].get("lifecycle_stage") == "deleted":
        server.post("/experiments/restore", {"experiment_id": found["experiment"]["experiment_id"]})
    return str(found["experiment"]["experiment_id"])


def close(run: str, status: str) -> None:
    """Mark a run that still counts as running; one that has ended stays as it is.

    Raises:
        ServiceError: MLflow can't be used.
    """
    try:
        server = MlflowRest(find("mlflow"))
    except ServiceNotFound:
        return
    found = server.get("/runs/get", {"run_id": run})
    if found is not None and found["run"]["info"]["status"] == "RUNNING":
        end = int(time.time() * 1000)
        server.post("/runs/update", {"run_id": run, "status": status, "end_time": end})
