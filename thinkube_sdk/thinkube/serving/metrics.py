"""What Prometheus scrapes at `/metrics`: requests, their time, runs in progress, the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from starlette.types import Scope

# Seconds; a model's answer takes long, a graph without one does not.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_NO_PATH = "(none)"


class Metrics:
    """One agent's figures, in a registry of their own: the agent's code may use the default one.

    Args:
        running: tells how many runs are in progress.
    """

    def __init__(self, name: str, release: str, running: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        Info("thinkube_agent", "What runs here.", registry=self._registry).info(
            {"name": name, "release": release}
        )
        self._requests = Counter(
            "thinkube_requests", "Requests answered.", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "thinkube_request_seconds",
            "From a request's head to its answer's end.",
            ("path",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        Gauge("thinkube_runs_in_progress", "Runs in progress.", registry=self._registry).set_function(running)
        ProcessCollector(registry=self._registry)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that has been answered; status 0 if the client was gone before."""
        path = _path(scope, status)
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The figures in the format that the scraper accepts, and that format's media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


def _path(scope: Scope, status: int) -> str:
    """The route, with names for its parameters; what nobody serves is one path, however it is spelled."""
    if "endpoint" not in scope or (status == 404 and not scope.get("path_params")):
        return _NO_PATH
    given: Mapping[str, str] = {str(value): key for key, value in scope.get("path_params", {}).items()}
    parts = (f"{{{given[part]}}}" if part in given else part for part in str(scope["path"]).split("/"))
    return "/".join(parts)
