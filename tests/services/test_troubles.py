"""A service that is dead, refuses, or can't be talked to: cause and fix, at once."""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.services.conftest import Serve

import thinkube as tk
from thinkube.errors import (
    ClientMissing,
    ConfigurationError,
    CredentialRejected,
    ServiceNotFound,
    ServiceUnreachable,
    UsageError,
)
from thinkube.model.endpoint import Credential
from thinkube.services.discovery import find
from thinkube.services.probe import probe
from thinkube.services.table import CLIENTS, SERVICES

# `tk.trace` is no client: without a backend the traced work goes on.
NAMES = [name for name in CLIENTS if name != "trace"]


def use(client: str, **arguments: Any) -> object:
    made = getattr(tk, client)(**arguments)

    async def wait() -> object:
        return await made

    return asyncio.run(wait()) if inspect.isawaitable(made) else made


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.usefixtures("empty_home")
def test_nothing_is_known(client: str):
    with pytest.raises(ServiceNotFound, match=SERVICES[CLIENTS[client].service].title) as caught:
        use(client)
    assert ("thinkube up" in caught.value.fix) is SERVICES[CLIENTS[client].service].local


@pytest.mark.parametrize("client", NAMES)
def test_nothing_listens(client: str, unused_port: int):
    scheme = SERVICES[CLIENTS[client].service].schemes[0]
    began = time.monotonic()
    with pytest.raises(ServiceUnreachable, match=f"127.0.0.1:{unused_port} does not answer") as caught:
        use(client, url=f"{scheme}://127.0.0.1:{unused_port}", credential=Credential("secret", "user"))
    assert time.monotonic() - began < 10
    assert "thinkube status" in caught.value.fix


@pytest.mark.parametrize("client", [client for client in NAMES if client not in ("langfuse", "s3")])
@pytest.mark.parametrize("given", [Credential("wrong-key-0123456789"), None], ids=["wrong", "none"])
@pytest.mark.usefixtures("stack")
def test_the_credential_is_wrong(client: str, given: Credential | None):
    endpoint = find(CLIENTS[client].service)
    with pytest.raises(CredentialRejected, match="refuses") as caught:
        use(client, url=endpoint.url, credential=given)
    assert endpoint.url in caught.value.cause
    assert "wrong-key" not in str(caught.value)
    assert "`credential`" in caught.value.fix
    assert "tk.secret(" in caught.value.fix


@pytest.mark.usefixtures("stack")
def test_the_credential_in_the_environment_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_URL", find("qdrant").url)
    monkeypatch.setenv("QDRANT_API_KEY", "of another service")
    with pytest.raises(CredentialRejected, match="QDRANT_URL") as caught:
        tk.qdrant()
    assert "QDRANT_API_KEY" in caught.value.fix
    assert tk.status()["qdrant"].health == "refused"


@pytest.mark.parametrize(
    ("client", "other"), [("openai", "qdrant"), ("mlflow", "nats"), ("nats", "mlflow"), ("qdrant", "llm")]
)
@pytest.mark.usefixtures("stack")
def test_the_key_is_another_services(client: str, other: str):
    endpoint, foreign = find(CLIENTS[client].service), find(other).credential
    assert foreign
    with pytest.raises(CredentialRejected, match=SERVICES[CLIENTS[client].service].title) as caught:
        use(client, url=endpoint.url, credential=foreign)
    assert foreign.secret not in str(caught.value)


@pytest.mark.usefixtures("stack")
def test_the_url_is_another_services():
    qdrant = find("qdrant")
    with pytest.raises(ServiceUnreachable, match="what answers there is no MLflow"):
        tk.mlflow(url=qdrant.url, credential=qdrant.credential)
    with pytest.raises(ServiceUnreachable, match="no NATS server"):
        use("nats", url=qdrant.url.replace("http", "nats"))


class Anything(BaseHTTPRequestHandler):
    """Answers every question."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("client", ["openai", "mlflow", "langfuse", "qdrant", "s3"])
@pytest.mark.usefixtures("empty_home")
def test_a_certificate_nobody_vouches_for(
    client: str, serve: Serve, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    url, keys = serve(Anything, certificate), Credential("secret", "user")
    with pytest.raises(ServiceUnreachable, match="certificate is not trusted: self") as caught:
        use(client, url=url, credential=keys)
    assert "SSL_CERT_FILE" in caught.value.fix
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert probe(find(CLIENTS[client].service, url, keys)).health == "up", "the fix helps at once"


def test_tls_where_none_is_spoken(serve: Serve):
    with pytest.raises(ServiceUnreachable, match=r"SSL|ssl"):
        tk.openai(url=serve(Anything).replace("http:", "https:"))


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.usefixtures("stack")
def test_the_library_is_not_installed(client: str, monkeypatch: pytest.MonkeyPatch):
    if client == "s3":  # the stack has none, and none is needed to see that boto3 is missing
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    library = {
        "llm": "langchain_openai",
        "embeddings": "langchain_openai",
        "nats": "nats",
        "crew_llm": "crewai",
        "s3": "boto3",
        "qdrant": "qdrant_client",
    }.get(client, client)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ClientMissing, match=CLIENTS[client].distributions[0]) as caught:
        use(client)
    assert "pip install 'thinkube-sdk[agents]'" in caught.value.fix


@pytest.mark.usefixtures("stack")
def test_no_default_model_lists_what_there_is():
    endpoint = find("llm")
    with pytest.raises(UsageError, match="smollm2-135m-instruct"):
        tk.llm(url=endpoint.url, credential=endpoint.credential)
    named = tk.llm("smollm2-135m-instruct", url=endpoint.url, credential=endpoint.credential, max_tokens=4)
    assert named.invoke("Hello").content


@pytest.mark.usefixtures("stack")
def test_an_address_may_end_as_openai_writes_it():
    endpoint = find("llm")
    client = tk.openai(url=f"{endpoint.url}/v1/", credential=endpoint.credential)
    assert list(client.models.list())


def test_langfuse_without_its_keys():
    from thinkube.services.tracing import connect

    with pytest.raises(ConfigurationError, match="two keys") as caught:
        connect(find("langfuse", "http://127.0.0.1:9"))
    assert "LANGFUSE_PUBLIC_KEY" in caught.value.fix


def test_what_listens_is_no_nats():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServiceUnreachable):
            use("nats", url=f"nats://127.0.0.1:{port}")
