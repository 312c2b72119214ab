"""A service that is dead, refuses, or can't be talked to: cause and fix, at once."""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
import time
from typing import Any

import pytest

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
from thinkube.services.table import CLIENTS, SERVICES


def use(client: str, **arguments: Any) -> object:
    made = getattr(tk, client)(**arguments)

    async def wait() -> object:
        return await made

    return asyncio.run(wait()) if inspect.isawaitable(made) else made


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("empty_home")
def test_nothing_is_known(client: str):
    with pytest.raises(ServiceNotFound, match=SERVICES[CLIENTS[client].service].title) as caught:
        use(client)
    assert "thinkube up" in caught.value.fix


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_listens(client: str, unused_port: int):
    scheme = SERVICES[CLIENTS[client].service].schemes[0]
    began = time.monotonic()
    with pytest.raises(ServiceUnreachable, match=f"127.0.0.1:{unused_port} does not answer") as caught:
        use(client, url=f"{scheme}://127.0.0.1:{unused_port}")
    assert time.monotonic() - began < 10
    assert "thinkube status" in caught.value.fix


@pytest.mark.parametrize("client", [client for client in CLIENTS if client != "langfuse"])
@pytest.mark.parametrize("given", [Credential("wrong-key-0123456789"), None], ids=["wrong", "none"])
@pytest.mark.usefixtures("stack")
def test_the_credential_is_wrong(client: str, given: Credential | None):
    endpoint = find(CLIENTS[client].service)
    with pytest.raises(CredentialRejected, match="refuses") as caught:
        use(client, url=endpoint.url, credential=given)
    assert endpoint.url in caught.value.cause
    assert "wrong-key" not in str(caught.value)


@pytest.mark.usefixtures("stack")
def test_the_credential_in_the_environment_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QDRANT_URL", find("qdrant").url)
    monkeypatch.setenv("QDRANT_API_KEY", "of another service")
    with pytest.raises(CredentialRejected, match="QDRANT_URL") as caught:
        tk.qdrant()
    assert "QDRANT_API_KEY" in caught.value.fix
    assert tk.status()["qdrant"].health == "refused"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.usefixtures("stack")
def test_the_library_is_not_installed(client: str, monkeypatch: pytest.MonkeyPatch):
    library = {
        "llm": "langchain_openai",
        "embeddings": "langchain_openai",
        "nats": "nats",
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
