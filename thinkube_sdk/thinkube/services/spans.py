"""Spans of the Langfuse SDK on their way into MLflow's OTLP endpoint."""

from __future__ import annotations

import json
import logging
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from thinkube.model.endpoint import Endpoint
from thinkube.services.probe import authorization, open_url

log = logging.getLogger(__name__)

_API = "/api/2.0/mlflow/experiments"


class MlflowSpanExporter(SpanExporter):
    """Sends spans to MLflow, with what Langfuse knows about them under names MLflow reads.

    Runs on the batch processor's thread: the experiment is looked up with the first batch, so that
    making a client never waits for MLflow.

    Args:
        endpoint: the MLflow server.
        experiment: name of the experiment, or None for the active one.
        timeout: seconds a batch may take.
    """

    def __init__(self, endpoint: Endpoint, experiment: str | None, timeout: int) -> None:
        self._endpoint = endpoint
        self._experiment = experiment
        self._timeout = timeout
        self._exporters: dict[str, OTLPSpanExporter] = {}
        self._ids: dict[str, str] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            experiment = self._experiment_id()
        except OSError as error:
            log.warning("%d spans lost: MLflow at %s: %s", len(spans), self._endpoint.url, error)
            return SpanExportResult.FAILURE
        exporter = self._exporters.get(experiment)
        if exporter is None:
            exporter = self._exporters[experiment] = OTLPSpanExporter(
                endpoint=f"{self._endpoint.url}/v1/traces",
                headers={**authorization(self._endpoint), "x-mlflow-experiment-id": experiment},
                timeout=self._timeout,
            )
        return exporter.export([translate(span) for span in spans])

    def shutdown(self) -> None:
        for exporter in self._exporters.values():
            exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - OpenTelemetry's signature
        return True  # `export` keeps nothing back

    def _experiment_id(self) -> str:
        if self._experiment is None and (active := os.environ.get("MLFLOW_EXPERIMENT_ID")):
            return active
        name = self._experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if not name:
            return "0"
        if name not in self._ids:
            self._ids[name] = self._look_up(name)
        return self._ids[name]

    def _look_up(self, name: str) -> str:
        query = urllib.parse.urlencode({"experiment_name": name})
        try:
            found = self._call(f"{_API}/get-by-name?{query}")
            return str(found["experiment"]["experiment_id"])
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            error.close()
        return str(self._call(f"{_API}/create", {"name": name})["experiment_id"])

    def _call(self, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            self._endpoint.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={**authorization(self._endpoint), "Content-Type": "application/json"},
        )
        with open_url(request, self._timeout) as answer:
            content: dict[str, Any] = json.load(answer)
            return content


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
