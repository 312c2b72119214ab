"""Spans of the Langfuse SDK on their way into MLflow's OTLP endpoint."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from thinkube.model.endpoint import Endpoint
from thinkube.services.linked import RUN
from thinkube.services.probe import authorization, open_url
from thinkube.services.spool import SpoolingExporter

_API = "/api/2.0/mlflow/experiments"
# How many traces MLflow links to a run at once.
_LINKS = 100


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
        by_run,
    )


def by_run(spans: Sequence[ReadableSpan]) -> Iterator[tuple[Mapping[str, str], Sequence[ReadableSpan]]]:
    """Cut a batch so that MLflow links each trace, with its root span, to the run it happened in."""
    rest = [span for span in spans if not _run(span)]
    if rest:
        yield {}, rest
    for run in dict.fromkeys(_run(span) for span in spans if _run(span)):
        roots = [span for span in spans if _run(span) == run]
        for start in range(0, len(roots), _LINKS):
            yield {"x-mlflow-run-id": run}, roots[start : start + _LINKS]


def _run(span: ReadableSpan) -> str:
    return str((span.attributes or {}).get(RUN, "")) if span.parent is None else ""


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
    for side, tokens in _tokens(usage).items():
        added[f"gen_ai.usage.{side}_tokens"] = tokens
    if known.get("langfuse.observation.type") == "embedding":
        added["gen_ai.operation.name"] = "embeddings"  # for MLflow, a model is a language model otherwise
    if cost := _cost(known):
        added["mlflow.llm.cost"] = json.dumps(cost)
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


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """Input and output, of what Langfuse has from LangChain, or has taken over from OpenAI's answer."""
    counts = {name: count for name, count in usage.items() if isinstance(count, int)}
    found = {}
    for side, openai in (("input", "prompt"), ("output", "completion")):
        whole = counts.get(f"{openai}_tokens", counts.get(f"{side}_tokens"))
        # LangChain's come apart, cached and reasoning tokens beside the others: `input_cache_read`, `input`.
        parts = [count for name, count in counts.items() if name.partition("_")[0] == side]
        if whole is not None or parts:
            found[side] = sum(parts) if whole is None else whole
    return {"input": 0, "output": 0, **found} if found else {}


def _cost(known: Mapping[str, Any]) -> dict[str, float]:
    """What a call was said to cost, in US dollars; what is not said, MLflow reckons from its price list."""
    said = {
        name: float(price)
        for name, price in _mapping(known.get("langfuse.observation.cost_details")).items()
        if isinstance(price, (int, float))
    }
    if not any(said.values()):
        return {}
    sides = {
        f"{side}_cost": sum(price for name, price in said.items() if name.partition("_")[0] == side)
        for side in ("input", "output")
    }
    return {**sides, "total_cost": said.get("total", sum(sides.values()))}


def _mapping(value: object) -> dict[str, Any]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return parsed if isinstance(parsed, dict) else {}


def _sequence(value: object) -> list[str]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return [str(each) for each in parsed] if isinstance(parsed, (list, tuple)) else []
