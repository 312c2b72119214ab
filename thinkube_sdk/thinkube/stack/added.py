"""Models behind the gateway beside those of the stack: a tuned one, or any server with OpenAI's API.

They are kept in a file that the running gateway follows, so that it never has to be started again for one.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkube.bundles.exclusive import exclusive
from thinkube.model.errors import ConfigurationError, StackError
from thinkube.model.private import write_private
from thinkube.services import state
from thinkube.services.state import LocalService, directory

_SECONDS = 30.0


@dataclass(frozen=True)
class Model:
    """One model that was added.

    Attributes:
        name: as clients ask for it.
        url: of the server with OpenAI's API, without `/v1`.
        served: as that server calls it.
        secret: what that server asks for.
    """

    name: str
    url: str
    served: str
    secret: str = field(default="", repr=False)


def models() -> list[Model]:
    """What was added, in the order of their names.

    Raises:
        ConfigurationError: the file that keeps them is damaged.
    """
    try:
        entries = json.loads(models_file().read_text(encoding="utf-8"))
        return [_model(entry) for entry in entries]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{models_file()} does not hold the gateway's further models: {error}.",
            "Remove it and add the models again.",
        ) from error


def add_model(name: str, url: str, *, served: str | None = None, secret: str = "") -> Model:
    """Let the gateway serve a further model; one of the same name is replaced.

    Requests under way are not touched, and the gateway is not started again. Returns when the running
    gateway lists the model; with the stack down, it will from its next start on.

    Args:
        name: as clients will ask for it.
        url: of a server with OpenAI's API, without `/v1`.
        served: as that server calls it; `name` if not given.
        secret: what that server asks for.

    Raises:
        StackError: the name is one of the stack's own models, or the gateway does not take the model.

    Example:
        add_model("tuned", "http://127.0.0.1:8123")
    """
    gateway = _gateway()
    if gateway is not None and name in gateway.options.values():
        raise StackError(f"{name} is a model of the stack itself.", "Give the added one another name.")
    model = Model(name, url.rstrip("/").removesuffix("/v1"), served or name, secret)
    _change(lambda known: [*(each for each in known if each.name != name), model])
    _await(gateway, name, listed=True)
    return model


def remove_model(name: str) -> None:
    """Take an added model away from the gateway.

    Raises:
        StackError: none of that name was added.
    """
    if name not in [model.name for model in models()]:
        known = ", ".join(model.name for model in models()) or "none"
        raise StackError(f"No model {name!r} was added to the gateway.", f"Added: {known}.")
    _change(lambda known: [each for each in known if each.name != name])
    _await(_gateway(), name, listed=False)


def models_file() -> Path:
    """The file the gateway follows."""
    return directory() / "models.json"


def _change(changed: Callable[[list[Model]], list[Model]]) -> None:
    directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(models_file().with_suffix(".lock")):
        entries = [_entry(model) for model in sorted(changed(models()), key=lambda each: each.name)]
        write_private(models_file(), json.dumps(entries, indent=1) + "\n")


def _entry(model: Model) -> dict[str, Any]:
    """A deployment as LiteLLM writes it down."""
    return {
        "model_name": model.name,
        "litellm_params": {
            "model": f"openai/{model.served}",
            "api_base": f"{model.url}/v1",
            # OpenAI's client refuses to work without any.
            "api_key": model.secret or "none",
        },
        "model_info": {"id": f"added-{model.name}"},
    }


def _model(entry: dict[str, Any]) -> Model:
    parameters = entry["litellm_params"]
    return Model(
        entry["model_name"],
        parameters["api_base"].removesuffix("/v1"),
        parameters["model"].removeprefix("openai/"),
        "" if parameters["api_key"] == "none" else parameters["api_key"],
    )


def _gateway() -> LocalService | None:
    current = state.read() if state.supervised() else None
    gateway = current.services.get("gateway") if current else None
    return gateway if gateway and gateway.stage == "ready" else None


def _await(gateway: LocalService | None, name: str, *, listed: bool) -> None:
    if gateway is None:
        return
    deadline = time.monotonic() + _SECONDS
    while (name in _served(gateway)) is not listed:
        if time.monotonic() > deadline:
            raise StackError(
                f"The gateway does not {'list' if listed else 'drop'} {name} after {_SECONDS:.0f} s.",
                "See why: thinkube service logs gateway",
            )
        time.sleep(0.05)


def _served(gateway: LocalService) -> list[str]:
    request = urllib.request.Request(
        f"{gateway.url}/v1/models", headers={"Authorization": f"Bearer {gateway.secret}"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=10) as answer:
        return [entry["id"] for entry in json.load(answer)["data"]]
