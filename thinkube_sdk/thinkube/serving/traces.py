"""One trace for each call, through the Langfuse SDK, or none where no backend is found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from thinkube.model.endpoint import Endpoint
from thinkube.model.errors import ServiceError
from thinkube.serving.log import event, trace_id

FLUSH_SECONDS = 4.0


class Span:
    """The open trace of one call; this one records nothing."""

    callbacks: tuple[Any, ...] = ()

    def output(self, value: Any) -> None:
        """Record the result."""

    def failed(self, error: BaseException) -> None:
        """Record that the agent raised."""


class _LangfuseSpan(Span):
    def __init__(self, span: Any, callbacks: tuple[Any, ...]) -> None:
        self._span = span
        self.callbacks = callbacks

    def output(self, value: Any) -> None:
        self._span.update(output=value)

    def failed(self, error: BaseException) -> None:
        self._span.update(level="ERROR", status_message=f"{type(error).__name__}: {error}")


class Traces:
    """Where calls are recorded.

    Args:
        client: a Langfuse client, or None to record nothing.
        name: the deployment's name, which each trace carries.
        release: the release's version.
        handler: whether runs report their steps through LangChain's callbacks.
    """

    def __init__(self, client: Any, name: str, release: str, *, handler: bool = False) -> None:
        self._client = client
        self._name = name
        self._release = release
        self._handler = handler

    @property
    def on(self) -> bool:
        return self._client is not None

    @contextmanager
    def call(self, given: Any, session: str | None, user: str | None) -> Iterator[Span]:
        """Record what happens inside as one trace, under the request's id."""
        if self._client is None:
            yield Span()
            return
        from langfuse import propagate_attributes

        with ExitStack() as stack:
            span = stack.enter_context(
                self._client.start_as_current_observation(
                    name=self._name,
                    as_type="agent",
                    input=given,
                    metadata={"release": self._release},
                    version=self._release,
                )
            )
            stack.enter_context(
                propagate_attributes(
                    trace_name=self._name,
                    session_id=session,
                    user_id=user,
                    version=self._release,
                    metadata={"release": self._release},
                )
            )
            yield _LangfuseSpan(span, self._callbacks())

    def _callbacks(self) -> tuple[Any, ...]:
        if not self._handler:
            return ()
        from thinkube.services.tracing import handler

        return (handler(self._client),)

    def flush(self) -> None:
        """Send what is still here, within `FLUSH_SECONDS`."""
        if self._client is None:
            return
        import threading

        # The exporter retries a dead backend for longer than a stopping process may wait.
        sender = threading.Thread(target=self._client.flush, name="flush-traces", daemon=True)
        sender.start()
        sender.join(FLUSH_SECONDS)
        if sender.is_alive():
            event("traces were left unsent: the backend does not answer", logging.WARNING)


def backend() -> Endpoint | None:
    """Where traces go, with the libraries for it imported; None with a line in the log that says why."""
    from thinkube.services.discovery import find

    try:
        endpoint = find("langfuse")
    except ServiceError as error:
        event("tracing is off", reason=error.cause)
        return None
    import langfuse  # noqa: F401 - while the release before still serves

    return endpoint


def connect(endpoint: Endpoint | None, name: str, release: str, *, handler: bool) -> Traces:
    """Traces to a backend, or none."""
    if endpoint is None:
        return Traces(None, name, release)
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    from thinkube.services.tracing import connect as connected

    class TraceIds(RandomIdGenerator):
        """Gives a trace the id that its request already has, so that it is the root of its own trace."""

        def generate_trace_id(self) -> int:
            trace = trace_id.get()
            return int(trace, 16) if trace else super().generate_trace_id()

    client = connected(endpoint, release=f"{name}@{release}" if release else None, id_generator=TraceIds())
    event("tracing is on", backend=endpoint.backend or endpoint.service, url=endpoint.url)
    return Traces(client, name, release, handler=handler)
