"""Language models and embeddings behind one OpenAI API."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import UsageError
from thinkube.services.automatic import trace_models
from thinkube.services.connecting import connected
from thinkube.services.probe import authorization, check_url, open_url, unreachable

if TYPE_CHECKING:
    from crewai import LLM
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    from openai import AsyncOpenAI, OpenAI

# The OpenAI libraries want some key, also for a server that asks for none.
_NO_KEY = "none"


def llm(
    model: str | None = None,
    *,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> ChatOpenAI:
    """A LangChain chat model.

    Args:
        model: its name; without one, the default of the place the service was found in.
        url: where the service is, if it should not be looked for.
        credential: what it asks for, together with `url`.
        options: passed on to `langchain_openai.ChatOpenAI`, such as `temperature=0` or `max_tokens=60`.

    Raises:
        ServiceNotFound: no language model service is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the key.
        ClientMissing: `langchain-openai` is not installed.

    Example:
        model = tk.llm(temperature=0)
        model.invoke("What is a socket?").content
    """
    endpoint, library = _connected("llm", "langchain_openai", url, credential)
    # Streamed answers come with their token counts too, which LangChain asks of OpenAI's own server alone.
    options = {"stream_usage": True, **options}
    chat: ChatOpenAI = library.ChatOpenAI(
        model=model or _model(endpoint, "model"), base_url=_base(endpoint), api_key=_key(endpoint), **options
    )
    return chat


@overload
def openai(
    *,
    asynchronous: Literal[False] = False,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> OpenAI: ...


@overload
def openai(
    *,
    asynchronous: Literal[True],
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> AsyncOpenAI: ...


def openai(
    *,
    asynchronous: bool = False,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> OpenAI | AsyncOpenAI:
    """An OpenAI client.

    Args:
        asynchronous: give `openai.AsyncOpenAI` instead of `openai.OpenAI`.
        url: where the service is, if it should not be looked for.
        credential: what it asks for, together with `url`.
        options: passed on to `openai.OpenAI`, such as `timeout=30`.

    Raises:
        ServiceNotFound: no language model service is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the key.
        ClientMissing: `openai` is not installed.

    Example:
        [model.id for model in tk.openai().models.list()]
    """
    endpoint, library = _connected("openai", "openai", url, credential)
    kind = library.AsyncOpenAI if asynchronous else library.OpenAI
    client: OpenAI | AsyncOpenAI = kind(base_url=_base(endpoint), api_key=_key(endpoint), **options)
    return client


def embeddings(
    model: str | None = None,
    *,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> OpenAIEmbeddings:
    """A LangChain embedding model.

    Args:
        model: its name; without one, the default of the place the service was found in.
        url: where the service is, if it should not be looked for.
        credential: what it asks for, together with `url`.
        options: passed on to `langchain_openai.OpenAIEmbeddings`.

    Raises:
        ServiceNotFound: no language model service is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the key.
        ClientMissing: `langchain-openai` is not installed.

    Example:
        vector = tk.embeddings().embed_query("What is a socket?")
    """
    endpoint, library = _connected("embeddings", "langchain_openai", url, credential)
    # Texts go out as texts: cutting them into OpenAI's tokens would fetch a vocabulary from the net,
    # and tokens of one model mean nothing to another. Floats are what every server can answer.
    options = {"check_embedding_ctx_length": False, "model_kwargs": {"encoding_format": "float"}, **options}
    embedder: OpenAIEmbeddings = library.OpenAIEmbeddings(
        model=model or _model(endpoint, "embedding_model"),
        base_url=_base(endpoint),
        api_key=_key(endpoint),
        **options,
    )
    return embedder


def crew_llm(
    model: str | None = None,
    *,
    url: str | None = None,
    credential: Credential | str | None = None,
    **options: Any,
) -> LLM:
    """A CrewAI language model, for `Agent(llm=…)`.

    Args:
        model: its name; without one, the default of the place the service was found in.
        url: where the service is, if it should not be looked for.
        credential: what it asks for, together with `url`.
        options: passed on to `crewai.LLM`, such as `temperature=0` or `max_tokens=60`.

    Raises:
        ServiceNotFound: no language model service is known.
        ServiceUnreachable: it doesn't answer.
        CredentialRejected: it refuses the key.
        ClientMissing: `crewai` is not installed.

    Example:
        tk.crew_llm(temperature=0).call("What is a socket?")
    """
    endpoint, library = _connected("crew_llm", "crewai", url, credential)
    # A name such as `anthropic/…` would make CrewAI go to that provider instead of to this gateway.
    crew: LLM = library.LLM(
        model=model or _model(endpoint, "model"),
        custom_openai=True,
        base_url=_base(endpoint),
        api_key=_key(endpoint),
        **options,
    )
    return crew


def _connected(
    client: str, module: str, url: str | None, credential: Credential | str | None
) -> tuple[Endpoint, Any]:
    """As for every client; and from now on what models are asked is traced."""
    found = connected(client, module, url, credential)
    trace_models()
    return found


def _base(endpoint: Endpoint) -> str:
    return endpoint.url if urlsplit(endpoint.url).path else f"{endpoint.url}/v1"


def _key(endpoint: Endpoint) -> str:
    return endpoint.credential.secret if endpoint.credential else _NO_KEY


def _model(endpoint: Endpoint, option: str) -> str:
    """The default model of a place, or an error that lists what it serves."""
    if chosen := endpoint.options.get(option):
        return chosen
    request = urllib.request.Request(check_url(endpoint), headers=authorization(endpoint))
    try:
        with open_url(request, 5) as answer:
            served = [str(entry["id"]) for entry in json.load(answer)["data"]]
    except OSError as error:
        raise unreachable(endpoint, str(error)) from error
    raise UsageError(
        f"No default model is set for {endpoint.url}, found through {endpoint.source}.",
        f"Name one of those it serves: {', '.join(served) or 'it lists none'}.",
    )
