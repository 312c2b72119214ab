"""Spans of the Langfuse SDK on their way into MLflow's OTLP endpoint."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from thinkube.model.endpoint import Endpoint
from thinkube.services.probe import authorization, open_url
from thinkube.services.spool import SpoolingExporter

_API = "/api/2.0/mlflow/experiments"


def mlflow_exporter(endpoint: Endpoint, experiment: str | None, timeout: float) -> SpoolingExporter:
    """Sends spans to MLflow, with what Langfuse knows about them under names MLflow reads.

    Args:
        endpoint: the MLflow server.
        experiment: name of the experiment, or None for the active one.
        timeout: seconds a batch may take.
    """
    experiments = Experiments(endpoint, experiment, timeout)
    return SpoolingExporter(
        f"{endpoint.url}/v1/traces",
        authorization(endpoint),
        lambda: {"x-mlflow-experiment-id": experiments.current()},
        translate,
        timeout,
    )


class Experiments:
    """The id of the experiment spans belong to: looked up with the first batch, on the sender's thread."""

    def __init__(self, endpoint: Endpoint, experiment: str | None, timeout: float) -> None:
        self._endpoint = endpoint
        self._experiment = experiment
        self._timeout = timeout
        self._ids: dict[str, str] = {}

    def current(self) -> str:
        """The id; OSError while MLflow is away."""
        if self._experiment is None and (active := os.environ.get("MLFLOW_EXPERIMENT_ID")):
            return active
        name = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if not name:
            return "0"
        if name not in self._ids:
            self._ids[name] = self._look_up(name)
        return self._ids[name]

    def _look_up(self, name: str) -> str:
        return self._existing(name) or self._created(name) or self._existing(name) or "0"

    def _existing(self, name: str) -> str | None:
        query = urllib.parse.urlencode({"experiment_name": name})
        found = self._call(f"{_API}/get-by-name?{query}", absent=404)
        return None if found is None else str(found["experiment"]["experiment_id"])

    def _created(self, name: str) -> str | None:
        # 400: another process made it meanwhile.
        made = self._call(f"{_API}/create", {"name": name}, absent=400)
        return None if made is None else str(made["experiment_id"])

    def _call(
        self, path: str, body: Mapping[str, str] | None = None, *, absent: int
    ) -> dict[str, Any] | None:
        request = urllib.request.Request(
            self._endpoint.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={**authorization(self._endpoint), "Content-Type": "application/json"},
        )
        try:
            with open_url(request, self._timeout) as answer:
                content: dict[str, Any] = json.load(answer)
                return content
        except urllib.error.HTTPError as error:
            if error.code != absent:
                raise
            error.close()
            return None


def translate(span: ReadableSpan) -> ReadableSpan:
    """Add the attributes MLflow reads a span's model, token counts, trace name and tags from.

    Inputs, outputs, kind, user and session MLflow takes from Langfuse's own.
    """
    known = dict(span.attributes or {})
    added: dict[str, Any] = {}
    if model := known.get("langfuse.observation.model.name"):
        added["gen_ai.request.model"] = model
    usage = _mapping(known.get("langfuse.observation.usage_details"))
    for side in ("input", "output"):
        # Langfuse counts cached and reasoning tokens apart: `input_cache_read` beside `input`.
        counts = [int(count) for name, count in usage.items() if name.partition("_")[0] == side]
        if counts:
            added[f"gen_ai.usage.{side}_tokens"] = sum(counts)
    if span.parent is None:
        if name := known.get("langfuse.trace.name"):
            added["mlflow.traceTag.mlflow.traceName"] = name
        for tag in _sequence(known.get("langfuse.trace.tags")):
            added[f"mlflow.traceTag.{tag}"] = "true"
        for key in ("release", "environment", "version"):
            if value := known.get(f"langfuse.{key}"):
                added[f"mlflow.traceTag.{key}"] = value
        for key, value in known.items():
            if key.startswith("langfuse.trace.metadata."):
                added[f"mlflow.traceTag.{key.removeprefix('langfuse.trace.metadata.')}"] = str(value)
    if not added:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={**known, **added},
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _mapping(value: object) -> dict[str, Any]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else {}


def _sequence(value: object) -> list[str]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return [str(each) for each in parsed] if isinstance(parsed, (list, tuple)) else []
