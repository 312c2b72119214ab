"""Spans sent over OTLP, and kept on disk while the trace backend is away.

A batch that can't be delivered becomes a file under `THINKUBE_HOME/spool/traces`, up to 64 MB in all, and is
sent again after the next batch that gets through, by whichever process that is.
"""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from thinkube.model.settings import home
from thinkube.services.probe import open_url

BOUND_BYTES = 64_000_000
# A file claimed by a process that died meanwhile is everyone's again.
_CLAIM_SECONDS = 60.0

Batch = tuple[Mapping[str, str], Sequence[ReadableSpan]]

log = logging.getLogger(__name__)


class SpoolingExporter(SpanExporter):
    """Sends batches to one place.

    Args:
        url: the OTLP endpoint.
        credential: gives the headers that carry a secret; they are never written to disk.
        headers: gives further headers for a batch; may raise OSError while the backend is away.
        translate: applied to each span.
        timeout: seconds a batch may take.
        cut: cuts a batch into those that are sent apart, each with headers of its own.
    """

    def __init__(
        self,
        url: str,
        credential: Mapping[str, str],
        headers: Callable[[], Mapping[str, str]],
        translate: Callable[[ReadableSpan], ReadableSpan],
        timeout: float,
        cut: Callable[[Sequence[ReadableSpan]], Iterable[Batch]] = lambda spans: [({}, spans)],
    ) -> None:
        self._url = url
        self._credential = credential
        self._headers = headers
        self._translate = translate
        self._timeout = timeout
        self._cut = cut

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = [self._export(own, part) for own, part in self._cut(spans)]
        done = all(result is SpanExportResult.SUCCESS for result in results)
        return SpanExportResult.SUCCESS if done else SpanExportResult.FAILURE

    def _export(self, own: Mapping[str, str], spans: Sequence[ReadableSpan]) -> SpanExportResult:
        body = encode_spans([self._translate(span) for span in spans]).SerializeToString()
        headers = own
        try:
            headers = {**self._headers(), **own}
            self._send(body, headers)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code != 429:
                log.warning("%s refuses %d spans: HTTP %d", self._url, len(spans), error.code)
                return SpanExportResult.FAILURE
            return self._keep(body, headers, len(spans), f"HTTP {error.code}")
        except OSError as error:
            return self._keep(body, headers, len(spans), str(error))
        self.deliver()
        return SpanExportResult.SUCCESS

    def deliver(self) -> None:
        """Send what was kept, oldest first, until something fails."""
        for path in self._kept():
            head, _, body = path.read_bytes().partition(b"\n")
            try:
                self._send(body, {**self._headers(), **json.loads(head)["headers"]})
            except OSError:
                path.rename(path.with_suffix(".otlp"))
                return
            path.unlink()

    def shutdown(self) -> None:
        """Nothing is held back in memory."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - OpenTelemetry's signature
        return True

    def _send(self, body: bytes, headers: Mapping[str, str]) -> None:
        request = urllib.request.Request(
            self._url,
            data=body,
            headers={**self._credential, **headers, "Content-Type": "application/x-protobuf"},
        )
        open_url(request, self._timeout).close()

    def _keep(self, body: bytes, headers: Mapping[str, str], spans: int, reason: str) -> SpanExportResult:
        folder = spool()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = sum(path.stat().st_size for path in folder.glob("*.otlp"))
        if size + len(body) > BOUND_BYTES:
            log.warning("%d spans lost: %s is away (%s) and %s is full", spans, self._url, reason, folder)
            return SpanExportResult.FAILURE
        head = json.dumps({"url": self._url, "headers": dict(headers)}).encode()
        path = folder / f"{time.time_ns()}-{os.getpid()}.otlp"
        part = path.with_suffix(".part")
        part.write_bytes(head + b"\n" + body)
        part.rename(path)
        log.info("%d spans kept in %s until %s is back (%s)", spans, path, self._url, reason)
        return SpanExportResult.SUCCESS

    def _kept(self) -> Iterator[Path]:
        """Files for this place, claimed one at a time."""
        folder = spool()
        for claimed in folder.glob("*.sending"):
            if time.time() - claimed.stat().st_mtime > _CLAIM_SECONDS:
                claimed.rename(claimed.with_suffix(".otlp"))
        for path in sorted(folder.glob("*.otlp")):
            claimed = path.with_suffix(".sending")
            try:
                with path.open("rb") as file:
                    if json.loads(file.readline())["url"] != self._url:
                        continue
                os.utime(path)
                path.rename(claimed)
            except FileNotFoundError:
                continue  # another process was faster
            yield claimed


def spool() -> Path:
    """The folder of batches that wait."""
    return home() / "spool" / "traces"
