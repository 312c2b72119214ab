"""MLflow runs and traces know of each other: the run that is active when a trace begins, and that trace.

A trace carries its run's id (`mlflow_run_id`). Where MLflow keeps the traces, it links the two itself
(`mlflow.search_traces(run_id=…)`, the run's page). Langfuse has no runs, so there the run gets a tag
`langfuse.trace.<id>` with the trace's address.
"""

from __future__ import annotations

import atexit
import logging
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from thinkube.model.endpoint import Endpoint

if TYPE_CHECKING:
    from langfuse import Langfuse

RUN = "langfuse.trace.metadata.mlflow_run_id"

_SECONDS = 5.0

log = logging.getLogger(__name__)
_followed: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def follow_runs(tracer: Langfuse, endpoint: Endpoint) -> None:
    """Link the traces of a client to the runs they happen in."""
    resources = tracer._resources
    if resources is None or resources.tracer_provider is None or resources in _followed:
        return
    _followed[resources] = True
    resources.tracer_provider.add_span_processor(_processor(tracer, endpoint))


def active_run() -> str | None:
    """The run that is active in this thread, if MLflow is in use at all."""
    active = getattr(sys.modules.get("mlflow"), "active_run", None)
    run = active() if active is not None else None
    return str(run.info.run_id) if run is not None else None


def _processor(tracer: Langfuse, endpoint: Endpoint) -> Any:
    """Loads OpenTelemetry, which whoever has a client has loaded."""
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

    tags = None if endpoint.backend == "mlflow" else _Tags(tracer)

    class Runs(SpanProcessor):
        def on_start(self, span: Span, parent_context: Any = None) -> None:  # noqa: ARG002
            if span.parent is None and (run := active_run()) and RUN not in (span.attributes or {}):
                span.set_attribute(RUN, run)

        def on_end(self, span: ReadableSpan) -> None:
            run = (span.attributes or {}).get(RUN)
            if tags is not None and span.parent is None and run and span.context is not None:
                tags.add(str(run), format(span.context.trace_id, "032x"))

    return Runs()


class _Tags:
    """Tags on runs, set by a thread of their own: a trace never waits for MLflow."""

    def __init__(self, tracer: Langfuse) -> None:
        self._tracer = tracer
        self._pool = ThreadPoolExecutor(1, "thinkube-runs")
        self._open: set[Future[None]] = set()
        atexit.register(self._finish)

    def add(self, run: str, trace: str) -> None:
        future = self._pool.submit(self._set, run, trace)
        self._open.add(future)
        future.add_done_callback(self._open.discard)

    def _set(self, run: str, trace: str) -> None:
        from mlflow import MlflowClient

        try:
            url = self._tracer.get_trace_url(trace_id=trace) or trace
            MlflowClient().set_tag(run, f"langfuse.trace.{trace}", url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the trace itself is well
            log.warning("The MLflow run %s has no link to its trace %s: %s", run, trace, error)

    def _finish(self) -> None:
        wait_for(self._open, _SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)
