"""Traces through the Langfuse SDK: to Langfuse, or on one machine into MLflow."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ConfigurationError
from thinkube.services.discovery import find
from thinkube.services.installed import load
from thinkube.services.probe import verify

if TYPE_CHECKING:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

# A notebook's user looks for a trace right after the call that made it.
_FLUSH_SECONDS = 1.0
_EXPORT_SECONDS = 5


def langfuse(
    *,
    url: str | None = None,
    credential: Credential | None = None,
    experiment: str | None = None,
    **options: Any,
) -> Langfuse:
    """A Langfuse client whose spans reach the trace backend that was found.

    Args:
        url: where Langfuse is, if it should not be looked for.
        credential: its secret key, with the public key as user name, together with `url`.
        experiment: the MLflow experiment the traces go to when MLflow keeps them. Without one, the
            active experiment (`mlflow.set_experiment`, `MLFLOW_EXPERIMENT_NAME`), else `Default`.
        options: passed on to `langfuse.Langfuse`.

    Raises:
        ServiceNotFound: no trace backend is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the keys.
        ClientMissing: `langfuse` is not installed.

    Example:
        langfuse = tk.langfuse()
        with langfuse.start_as_current_observation(name="answer", input="What is a socket?") as span:
            span.update(output="An end of a connection.")
    """
    endpoint = find("langfuse", url, credential)
    load("langfuse", "langfuse")
    verify(endpoint)
    return connect(endpoint, experiment=experiment, **options)


def client(*, experiment: str | None = None, **options: Any) -> Langfuse:
    """As `langfuse`, for a server: never waits for the backend, which may come and go.

    Spans are sent by a thread of their own. While MLflow is away they are kept on disk, see
    `thinkube.services.spool`, so that no request waits or fails and no trace is lost.

    Args:
        experiment: as in `langfuse`.
        options: passed on to `langfuse.Langfuse`, such as `release="docs-agent@3"`.

    Raises:
        ServiceNotFound: no trace backend is known.
        ClientMissing: `langfuse` is not installed.
    """
    endpoint = find("langfuse")
    load("langfuse", "langfuse")
    return connect(endpoint, experiment=experiment, **options)


def handler(tracer: Langfuse | None = None) -> CallbackHandler:
    """The LangChain callback handler that writes into `tracer`, or into `client()`.

    Example:
        with propagate_attributes(trace_name="docs-agent", session_id=session, tags=["v3"]):
            agent.invoke(question, config={"callbacks": [tracing.handler()]})

    Raises:
        ServiceNotFound: no trace backend is known.
        ClientMissing: `langfuse` or `langchain` is not installed.
    """
    connected = tracer or client()
    library = load("langfuse", "langfuse.langchain")
    resources = connected._resources
    callbacks: CallbackHandler = library.CallbackHandler(
        public_key=resources.public_key if resources else None
    )
    return callbacks


def connect(endpoint: Endpoint, *, experiment: str | None = None, **options: Any) -> Langfuse:
    """The Langfuse client of an endpoint; the same one for the same endpoint and experiment."""
    library = load("langfuse", "langfuse")
    options = {"flush_interval": _FLUSH_SECONDS, **options}
    if endpoint.backend == "mlflow":
        from thinkube.services.spans import mlflow_exporter

        place = f"{endpoint.url} {experiment or ''}"
        tracer: Langfuse = library.Langfuse(
            base_url=endpoint.url,
            # The SDK keeps one client a public key.
            public_key=f"thinkube-{sha256(place.encode()).hexdigest()[:12]}",
            secret_key="unused",  # the exporter carries the credential
            span_exporter=mlflow_exporter(endpoint, experiment, _EXPORT_SECONDS),
            media_upload_thread_count=0,
            **options,
        )
        return tracer
    if endpoint.credential is None or endpoint.credential.username is None:
        raise ConfigurationError(
            f"Langfuse at {endpoint.url}, found through {endpoint.source}, comes without its two keys.",
            "Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY beside its URL.",
        )
    remote: Langfuse = library.Langfuse(
        base_url=endpoint.url,
        public_key=endpoint.credential.username,
        secret_key=endpoint.credential.secret,
        **options,
    )
    return remote
