"""From a notebook cell to production: `import thinkube as tk`.

Importing costs nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thinkube.services.clients import (
        crew_llm,
        embeddings,
        langfuse,
        llm,
        mlflow,
        nats,
        openai,
        qdrant,
        s3,
    )
    from thinkube.services.health import status
    from thinkube.services.secrets import secret
    from thinkube.services.spanning import trace
    from thinkube.targets.deploy import deploy, deployment, deployments, package
    from thinkube.targets.jobs import job, jobs
    from thinkube.targets.jobs_finetune import finetune
    from thinkube.targets.jobs_submit import submit
    from thinkube.training.job import checkpoints, report

__version__ = "0.1.0"

_HOMES = {
    "crew_llm": "thinkube.services.language_models",
    "embeddings": "thinkube.services.language_models",
    "langfuse": "thinkube.services.tracing",
    "llm": "thinkube.services.language_models",
    "mlflow": "thinkube.services.tracking",
    "nats": "thinkube.services.messages",
    "openai": "thinkube.services.language_models",
    "qdrant": "thinkube.services.vectors",
    "s3": "thinkube.services.files",
    "secret": "thinkube.services.secrets",
    "status": "thinkube.services.health",
    "trace": "thinkube.services.spanning",
    "deploy": "thinkube.targets.deploy",
    "deployment": "thinkube.targets.deploy",
    "deployments": "thinkube.targets.deploy",
    "package": "thinkube.targets.deploy",
    "finetune": "thinkube.targets.jobs_finetune",
    "job": "thinkube.targets.jobs",
    "jobs": "thinkube.targets.jobs",
    "submit": "thinkube.targets.jobs_submit",
    "report": "thinkube.training.job",
    "checkpoints": "thinkube.training.job",
}

_MODULES = {"errors": "thinkube.errors", "dataset": "thinkube.training.dataset"}

__all__ = [  # noqa: RUF022 - in the order a user meets them
    "llm", "openai", "embeddings", "crew_llm", "mlflow", "langfuse", "nats", "qdrant", "s3",
    "trace", "secret", "status", "package", "deploy", "deployments", "deployment", "finetune", "submit",
    "jobs", "job", "report", "checkpoints",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'thinkube' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext thinkube`: the `%thinkube` magics and rich displays."""
    from thinkube.notebook.extension import load

    load(shell)
