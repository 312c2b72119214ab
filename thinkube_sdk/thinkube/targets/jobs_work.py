"""What a local job runs: a recipe, or a captured function. Its keeper knows no more of it than this."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from thinkube.bundles.environments import environment, read_lock
from thinkube.bundles.progress import Progress
from thinkube.model import manifest as manifests
from thinkube.model.errors import ConfigurationError
from thinkube.model.recipe import read as read_recipe
from thinkube.targets.jobs_environment import lay_out_sdk, training_python
from thinkube.targets.variables import variables
from thinkube.training.job import CHECKPOINTS

FUNCTION = "function.json"
BUNDLE = "bundle"
_FORMAT = 1


class Work(Protocol):
    """One job's work."""

    @property
    def gpus(self) -> int | None:
        """How many GPUs it takes; None for one if there is one."""

    def prepare(self, progress: Progress) -> tuple[list[str], dict[str, str]]:
        """Make its environment; give the command and its variables."""


@dataclass(frozen=True)
class RecipeWork:
    """`tk.finetune`: a recipe and its rows."""

    folder: Path

    @property
    def gpus(self) -> int | None:
        return read_recipe(self.folder / "recipe.yaml").gpus

    def prepare(self, progress: Progress) -> tuple[list[str], dict[str, str]]:
        python = training_python(progress)
        lay_out_sdk(self.folder / "sdk")
        argv = [str(python), "-m", "thinkube.training", str(self.folder / "recipe.yaml")]
        argv += ["--work", str(self.folder / "run"), "--name", self.folder.name]
        return argv, {**os.environ, "PYTHONPATH": str(self.folder / "sdk")}


@dataclass(frozen=True)
class FunctionWork:
    """`tk.submit`: a bundle and the parameters of its function."""

    folder: Path

    @property
    def gpus(self) -> int | None:
        found: int | None = read_call(self.folder)["gpus"]
        return found

    def prepare(self, progress: Progress) -> tuple[list[str], dict[str, str]]:
        call = read_call(self.folder)
        bundle = self.folder / BUNDLE
        python = environment(read_lock(bundle), progress)
        manifest = manifests.read(bundle)
        tracked = replace(manifest, services=tuple(sorted({*manifest.services, "mlflow"})))
        parameters = self.folder / "parameters.json"
        parameters.write_text(json.dumps(call["parameters"]), encoding="utf-8")
        argv = [str(python), "-P", "-m", "thinkube.training.function", "run", "--bundle", str(bundle)]
        argv += ["--parameters-file", str(parameters), "--work", str(self.folder / "run")]
        argv += ["--name", self.folder.name, "--experiment", call["experiment"]]
        checkpoints = str(self.folder / "run" / "checkpoints")
        return argv, {**variables(tracked, {}), CHECKPOINTS: checkpoints}


def work_of(folder: Path) -> Work:
    """The work of the job in a folder."""
    return FunctionWork(folder) if (folder / FUNCTION).exists() else RecipeWork(folder)


def write_call(folder: Path, parameters: Mapping[str, Any], experiment: str, gpus: int | None) -> None:
    """Keep how a job's function is called."""
    call = {"format": _FORMAT, "parameters": dict(parameters), "experiment": experiment, "gpus": gpus}
    (folder / FUNCTION).write_text(json.dumps(call, indent=1), encoding="utf-8")


def read_call(folder: Path) -> dict[str, Any]:
    """How a job's function is called.

    Raises:
        ConfigurationError: another version wrote it, or it is damaged.
    """
    path = folder / FUNCTION
    try:
        call: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        written = call["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is damaged: {error}", "Submit the function again.") from error
    if written != _FORMAT:
        raise ConfigurationError(
            f"{path} has format {written}; this version of Thinkube reads {_FORMAT}.",
            "Use the version that wrote it, or submit the function again.",
        )
    return call
