"""Traces through the Langfuse SDK: to Langfuse, or on one machine into MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import ConfigurationError, ThinkubeError
from thinkube.services.automatic import trace_models
from thinkube.services.connecting import connected
from thinkube.services.discovery import find
from thinkube.services.installed import load
from thinkube.services.linked import follow_runs

if TYPE_CHECKING:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import ReadableSpan

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
    endpoint, _ = connected("langfuse", "langfuse", url, credential)
    trace_models()
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


def current() -> Langfuse | None:
    """Where this process traces to: what it connected to last, else what is found; None without any."""
    if _chosen is not None:
        return _chosen
    try:
        return _client(find("langfuse"), None, {})
    except ThinkubeError:
        return None  # whoever asks for the client is told


def key_of(tracer: Langfuse) -> str:
    """What tells a client from others in this process."""
    return tracer._resources.public_key if tracer._resources else ""


def handler(tracer: Langfuse | None = None) -> CallbackHandler:
    """The LangChain callback handler that writes into `tracer`, or into `client()`.

    Example:
        with propagate_attributes(trace_name="docs-agent", session_id=session, tags=["v3"]):
            agent.invoke(question, config={"callbacks": [tracing.handler()]})

    Raises:
        ServiceNotFound: no trace backend is known.
        ClientMissing: `langfuse` or `langchain` is not installed.
    """
    wanted = tracer or client()
    library = load("langfuse", "langfuse.langchain")
    callbacks: CallbackHandler = library.CallbackHandler(public_key=key_of(wanted))
    # In an asynchronous run LangChain would call it in another thread, where it can't say what is current.
    callbacks.run_inline = True
    return callbacks


def connect(endpoint: Endpoint, *, experiment: str | None = None, **options: Any) -> Langfuse:
    """The Langfuse client of an endpoint; from now on, this process traces to it."""
    global _chosen
    _chosen = _client(endpoint, experiment, options)
    return _chosen


_chosen: Langfuse | None = None
# The SDK keeps one set of threads a public key; asked again, it would make a further exporter for nothing.
_clients: dict[object, Langfuse] = {}


def _client(endpoint: Endpoint, experiment: str | None, options: dict[str, Any]) -> Langfuse:
    place = endpoint.url, endpoint.backend, endpoint.credential, experiment
    if not options and place in _clients:
        return _clients[place]
    made = _made(endpoint, experiment, options)
    follow_runs(made, endpoint)
    if not options:
        _clients[place] = made
    return made


def _made(endpoint: Endpoint, experiment: str | None, options: dict[str, Any]) -> Langfuse:
    library = load("langfuse", "langfuse")
    if endpoint.backend == "mlflow":
        from thinkube.services.spans import mlflow_exporter

        # The SDK keeps one client a public key.
        place = f"{endpoint.url} {experiment or ''} {sorted(options)} {options.get('release', '')}"
        keys = {
            "public_key": f"thinkube-{sha256(place.encode()).hexdigest()[:12]}",
            "secret_key": "unused",  # the exporter carries the credential
            "span_exporter": mlflow_exporter(endpoint, experiment, _EXPORT_SECONDS),
            "media_upload_thread_count": 0,
        }
    elif endpoint.credential is None or endpoint.credential.username is None:
        raise ConfigurationError(
            f"Langfuse at {endpoint.url}, found through {endpoint.source}, comes without its two keys.",
            "Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY beside its URL.",
        )
    else:
        keys = {"public_key": endpoint.credential.username, "secret_key": endpoint.credential.secret}
    tracer: Langfuse = library.Langfuse(
        base_url=endpoint.url,
        **{
            "flush_interval": _FLUSH_SECONDS,
            "should_export_span": _only_where_current(keys["public_key"]),
            **_provider(options),
            **keys,
            **options,
        },
    )
    return tracer


def _provider(options: Mapping[str, Any]) -> dict[str, Any]:
    """Trace ids of one's own need a provider of one's own, where the process's was made without them."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if "id_generator" not in options or not isinstance(trace.get_tracer_provider(), TracerProvider):
        return {}
    return {"tracer_provider": TracerProvider(id_generator=options["id_generator"])}


def _only_where_current(public_key: Any) -> Callable[[ReadableSpan], bool]:
    """Spans of other libraries belong to no client in particular: they go to the one that is current."""
    from langfuse.span_filter import is_default_export_span, is_langfuse_span

    def exported(span: ReadableSpan) -> bool:
        if is_langfuse_span(span):
            return True
        tracer = current()
        return tracer is not None and key_of(tracer) == public_key and is_default_export_span(span)

    return exported
