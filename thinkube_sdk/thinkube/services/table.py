"""The one table of services: what each is called, what it reads from the environment, what its client needs.

Discovery, status, documentation, the lock and the local stack all read this table, so a name, a
variable or a distribution is written down once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Environment:
    """One way a service's place can be told through environment variables.

    Attributes:
        url: the variable that holds the URL.
        secret: the variable of the secret that belongs to exactly this URL variable, if any.
        username: the variable of the user name or public key, if any.
        options: option name to variable, for settings that belong to the place.
    """

    url: str
    secret: str | None = None
    username: str | None = None
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Service:
    """A service a notebook talks to.

    Attributes:
        name: how code and commands call it.
        title: how a person calls it.
        purpose: one clause.
        environments: in order of precedence; the first whose URL is set wins.
        schemes: what its URL may start with; the first is taken where none is written.
        probe: path that answers 200 without a credential when the service is up (empty: a TCP connect).
        check: path that answers 200 to a right credential and refuses a wrong one.
        version: path that tells the service's own version; empty where its probe does, or nothing.
        local: whether `thinkube up` starts one.
        stand_in: the service that takes its place where only that one is named.
    """

    name: str
    title: str
    purpose: str
    environments: tuple[Environment, ...]
    schemes: tuple[str, ...] = ("http", "https")
    probe: str = ""
    check: str = ""
    version: str = ""
    local: bool = True
    stand_in: str = ""


@dataclass(frozen=True)
class Client:
    """One public function of `thinkube` that hands over a connected client.

    Attributes:
        name: as in `tk.<name>()`.
        service: the service it connects to.
        distributions: what has to be installed for it; `thinkube-sdk` itself does not depend on them.
        extra: the extra of `thinkube-sdk` that brings them.
    """

    name: str
    service: str
    distributions: tuple[str, ...]
    extra: str = "agents"


SERVICES = {
    service.name: service
    for service in (
        Service(
            "llm",
            "LiteLLM",
            "language models and embeddings behind one OpenAI API",
            (
                Environment(
                    "LITELLM_ENDPOINT",
                    "LITELLM_API_KEY",
                    options=(("model", "LITELLM_MODEL"), ("embedding_model", "LITELLM_EMBEDDING_MODEL")),
                ),
                Environment(
                    "OPENAI_BASE_URL",
                    "OPENAI_API_KEY",
                    options=(("model", "OPENAI_MODEL"), ("embedding_model", "OPENAI_EMBEDDING_MODEL")),
                ),
            ),
            probe="/health/liveliness",
            check="/v1/models",
            version="/health/readiness/details",
        ),
        Service(
            "mlflow",
            "MLflow",
            "experiments, models and releases",
            (
                Environment("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME"),
                Environment("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"),
            ),
            probe="/health",
            check="/api/2.0/mlflow/experiments/get?experiment_id=0",
            version="/version",
        ),
        Service(
            "langfuse",
            "Langfuse",
            "traces of model calls and agents",
            (
                Environment("LANGFUSE_BASE_URL", "LANGFUSE_SECRET_KEY", "LANGFUSE_PUBLIC_KEY"),
                Environment("LANGFUSE_HOST", "LANGFUSE_SECRET_KEY", "LANGFUSE_PUBLIC_KEY"),
            ),
            probe="/api/public/health",
            check="/api/public/projects",
            version="/api/public/health",
            stand_in="mlflow",
        ),
        Service(
            "nats",
            "NATS",
            "messages, with JetStream",
            (Environment("NATS_URL", "NATS_TOKEN"), Environment("NATS_URL", "NATS_PASSWORD", "NATS_USER")),
            schemes=("nats", "tls", "ws", "wss"),
        ),
        Service(
            "qdrant",
            "Qdrant",
            "vectors",
            (Environment("QDRANT_URL", "QDRANT_API_KEY"),),
            probe="/healthz",
            check="/collections",
            version="/",
        ),
        Service(
            "s3",
            "S3",
            "files, by any server that speaks S3",
            (
                Environment(
                    "AWS_ENDPOINT_URL_S3",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_ACCESS_KEY_ID",
                    options=(("region", "AWS_REGION"),),
                ),
                Environment(
                    "AWS_ENDPOINT_URL",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_ACCESS_KEY_ID",
                    options=(("region", "AWS_REGION"),),
                ),
            ),
            check="/",
            local=False,
        ),
    )
}

CLIENTS = {
    client.name: client
    for client in (
        Client("llm", "llm", ("langchain-openai",)),
        Client("openai", "llm", ("openai",)),
        Client("embeddings", "llm", ("langchain-openai",)),
        Client("crew_llm", "llm", ("crewai",)),
        Client("mlflow", "mlflow", ("mlflow",)),
        Client("langfuse", "langfuse", ("langfuse", "opentelemetry-exporter-otlp-proto-http")),
        Client("trace", "langfuse", ("langfuse", "opentelemetry-exporter-otlp-proto-http")),
        Client("nats", "nats", ("nats-py",)),
        Client("qdrant", "qdrant", ("qdrant-client",)),
        Client("s3", "s3", ("boto3",)),
    )
}
