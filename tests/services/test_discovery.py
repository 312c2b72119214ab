"""Where a service is found, in which order, and what is said when it is nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from thinkube.errors import ConfigurationError, ServiceNotFound, UsageError
from thinkube.model.endpoint import Credential
from thinkube.services import state
from thinkube.services.discovery import find
from thinkube.services.exported import export
from thinkube.services.table import SERVICES

pytestmark = pytest.mark.usefixtures("empty_home")


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_URL", "http://elsewhere:6333")
    monkeypatch.setenv("QDRANT_API_KEY", "of elsewhere")
    endpoint = find("qdrant", "http://here:6333")
    assert endpoint.url == "http://here:6333"
    assert endpoint.credential is None, "the environment's key belongs to the environment's URL"
    assert endpoint.source == "the argument `url`"


def test_a_credential_comes_with_its_url(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-cloud")
    monkeypatch.setenv("LITELLM_ENDPOINT", "http://gateway:4000")
    assert find("llm").credential is None
    monkeypatch.setenv("LITELLM_API_KEY", "sk-gateway")
    assert find("llm").credential == Credential("sk-gateway")
    with pytest.raises(UsageError, match="without the URL"):
        find("llm", credential="sk-cloud")


def test_a_key_alone_never_leads_to_a_public_cloud(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-cloud")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf")
    for service in ("llm", "langfuse"):
        with pytest.raises(ServiceNotFound):
            find(service)


@pytest.mark.parametrize(
    ("service", "first", "second"),
    [
        ("llm", "LITELLM_ENDPOINT", "OPENAI_BASE_URL"),
        ("langfuse", "LANGFUSE_BASE_URL", "LANGFUSE_HOST"),
    ],
)
def test_variables_have_an_order(monkeypatch: pytest.MonkeyPatch, service: str, first: str, second: str):
    monkeypatch.setenv(second, "http://second:1/v1")
    assert find(service).source == f"the environment variable {second}"
    monkeypatch.setenv(first, "http://first:1")
    assert find(service).source == f"the environment variable {first}"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NATS_TOKEN": "t0ken"}, Credential("t0ken")),
        ({"NATS_PASSWORD": "pass", "NATS_USER": "ada"}, Credential("pass", "ada")),
        ({}, None),
    ],
)
def test_nats_takes_a_token_or_a_user(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Credential | None
):
    monkeypatch.setenv("NATS_URL", "nats://queue:4222")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find("nats").credential == expected


@pytest.mark.parametrize(
    ("url", "bare", "credential"),
    [
        ("nats://ada:p%40ss@queue:4222", "nats://queue:4222", Credential("p@ss", "ada")),
        ("nats://t0ken@queue:4222", "nats://queue:4222", Credential("t0ken")),
        ("queue:4222", "nats://queue:4222", None),
        ("tls://queue", "tls://queue", None),
    ],
)
def test_a_url_is_taken_apart(url: str, bare: str, credential: Credential | None):
    endpoint = find("nats", url)
    assert (endpoint.url, endpoint.credential) == (bare, credential)


@pytest.mark.parametrize("url", ["http://queue:4222", "nats://", "nats://queue:port", "nats://queue:99999"])
def test_what_is_no_url_of_the_service_is_refused(monkeypatch: pytest.MonkeyPatch, url: str):
    monkeypatch.setenv("NATS_URL", url)
    with pytest.raises(ConfigurationError, match="NATS_URL does not hold a URL of NATS"):
        find("nats")


def test_a_secret_is_in_no_repr():
    endpoint = find("mlflow", "http://ada:s3cret@tracking:5000")
    assert endpoint.credential == Credential("s3cret", "ada")
    assert "s3cret" not in repr(endpoint) + repr(endpoint.credential)


@pytest.mark.parametrize("service", SERVICES)
def test_nowhere_lists_every_place_and_the_way_out(service: str):
    with pytest.raises(ServiceNotFound) as caught:
        find(service)
    for way in SERVICES[service].environments:
        assert way.url in caught.value.cause
    assert str(state.state_file()) in caught.value.cause
    assert ("thinkube up" in caught.value.fix) is SERVICES[service].local


def test_an_mlflow_keeps_the_traces_where_no_langfuse_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    found = find("langfuse")
    assert (found.url, found.backend, found.credential) == (
        "http://tracking:5000",
        "mlflow",
        Credential("s3cret", "ada"),
    )
    assert found.source == "the environment variable MLFLOW_TRACKING_URI"
    monkeypatch.setenv("LANGFUSE_HOST", "http://langfuse:3000")
    assert find("langfuse").url == "http://langfuse:3000"


@pytest.mark.parametrize("uri", ["sqlite:///runs.db", "file:///tmp/runs", "databricks://profile"])
def test_an_mlflow_that_is_no_server_keeps_no_traces(monkeypatch: pytest.MonkeyPatch, uri: str):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ServiceNotFound, match="No Langfuse"):
        find("langfuse")


def test_an_unknown_service_gets_a_suggestion():
    with pytest.raises(UsageError, match="Did you mean 'qdrant'"):
        find("quadrant")


def test_an_export_of_ours_is_not_the_users_choice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("THINKUBE_EXPORTED", "")
    export({"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    with pytest.raises(ServiceNotFound):
        find("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://chosen:5000")
    assert find("mlflow").url == "http://chosen:5000"


def test_a_stack_that_does_not_run_is_no_place(empty_home: Path):
    local = state.LocalService("nats", "NATS", ("nats",), "nats://127.0.0.1:4222", stage="ready")
    state.write(state.State(1, {"nats": local}))
    with pytest.raises(ServiceNotFound, match="the stack is not running"):
        find("nats")
    assert state.state_file().stat().st_mode & 0o777 == 0o600
    assert state.state_file().is_relative_to(empty_home)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "can't be read as the stack's state"),
        ("[]", "can't be read as the stack's state"),
        (json.dumps({"version": 99}), "has version 99; this Thinkube reads version 1"),
        (json.dumps({"version": 1, "supervisor": 1, "services": {"nats": {"port": 1}}}), "unknown keys port"),
    ],
)
def test_a_broken_state_file_is_refused_with_a_way_out(content: str, told: str):
    path = state.state_file()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        find("nats")
    assert str(path) in caught.value.cause
    assert "thinkube up" in caught.value.fix
