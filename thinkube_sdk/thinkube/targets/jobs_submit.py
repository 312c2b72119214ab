"""`tk.submit`: a training function out of a notebook, and what it is called with, become a job."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from thinkube.bundles.environments import environment
from thinkube.bundles.progress import Progress, printed
from thinkube.bundles.store import Store
from thinkube.bundles.verify import checked_parameters
from thinkube.model.capture import Capture
from thinkube.model.errors import MachineTooSmall, UsageError
from thinkube.model.kinds import kind_of
from thinkube.model.settings import home
from thinkube.services.secrets import known, secret
from thinkube.targets.jobs import Job
from thinkube.targets.jobs_local import LocalPlace, new_folder, start
from thinkube.targets.jobs_work import BUNDLE, write_call

if TYPE_CHECKING:
    from thinkube.bundles.package import Package

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_OPTIONS = frozenset(
    {"object", "name", "env", "secrets", "freeze", "gpus", "experiment", "progress", "texts"}
)


def submit(
    function: Any,
    *,
    object: str | None = None,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    gpus: int | None = None,
    experiment: str | None = None,
    parameters: Mapping[str, Any] = _NOTHING,
    texts: bool = False,
    progress: Progress | None = None,
    **named: Any,
) -> Job:
    """Run a training function as a job: exactly its code, in its locked environment, in a process of its own.

    The job goes on when the notebook is closed. `tk.report(step, steps, loss=…)` in the function shows how
    far it is; files under `tk.checkpoints()` are there again when a stopped or killed job is resumed.

    Args:
        function: a function of this notebook, or the path of a notebook (.ipynb) or module (.py).
        object: the function's name; needed with a path.
        name: the job's; from the function's if not given. A number follows it.
        env: plain settings of its process.
        secrets: names of secrets to hand on, beside those the code is seen to read.
        freeze: variables whose values are stored instead of being computed again (see `package`).
        gpus: 0 for none; without it one if there is one.
        experiment: MLflow's; by default what the code gives to `set_experiment`, else the job's name.
        parameters: the function's parameters whose names are those of arguments here.
        texts: the parameters are texts from a command line, to be read by their types.
        progress: called with each line on what is being done; printed if not given.
        named: the function's parameters.

    Raises:
        UsageError: a parameter is unknown, missing or of the wrong type.
        SecretNotFound: a secret named in `secrets` is neither stored nor an environment variable.
        MachineTooSmall: a GPU is asked for where there is none.
        CaptureError, BundleError: the code can't be taken out of the notebook, or does not import by itself.

    Example:
        job = tk.submit(train, steps=200, rate=1e-3)
        job.wait()
    """
    told = progress or printed
    given = {**named, **parameters}
    if callable(function):
        _check_live(function, given, texts)
    for each in secrets:
        secret(each)
    _check_gpus(gpus)
    made = packaged(function, object, name, env=env, secrets=secrets, freeze=freeze, progress=told)
    for each in made.manifest.secrets:
        if known(each) is None:
            told(f"{each} is read by the code and set nowhere: `thinkube secret set {each}` stores it")
    folder = new_folder(home() / "jobs", made.manifest.name)
    try:
        # A copy of its own: an import, and a function, may write beside the code.
        Store().check_out(made.digest, folder / BUNDLE)
        python = environment(made.lock, told)
        values = checked_parameters(
            folder / BUNDLE, made.manifest, made.capture, python, given, texts=texts, progress=told
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write_call(folder, values, experiment or experiment_of(made.capture) or made.manifest.name, gpus)
    start(folder)
    told(f"job {folder.name} goes on by itself")
    return Job(folder.name, LocalPlace(folder))


def packaged(
    function: Any,
    variable: str | None,
    name: str | None,
    *,
    env: Mapping[str, str] | None,
    secrets: Sequence[str],
    freeze: Sequence[str],
    progress: Progress,
    out: Path | None = None,
    verify: bool = False,
) -> Package:
    """The function's bundle: source, lock, Dockerfile, workflow."""
    from thinkube.bundles.package import package
    from thinkube.bundles.render import JOB
    from thinkube.targets.deploy import captured, slug

    if name is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,44}[a-z0-9])?", name):
        raise UsageError(
            f"{name!r} can't name a job: lower-case letters, digits and hyphens, at most 46.",
            f'Use name="{slug(name)[:46].strip("-")}".',
        )
    capture, kind = captured(function, variable, progress, freeze)
    if kind in ("generator", "async generator", "langgraph", "langgraph-builder", "runnable"):
        raise UsageError(
            f"{capture.name} is a {kind}, and a job runs a function that returns.",
            "Write a function that does the work and returns its result; tk.deploy serves agents.",
        )
    if secrets:
        capture = replace(capture, secrets=tuple(sorted({*capture.secrets, *secrets})))
    return package(
        capture,
        name=name or slug(capture.name)[:46].strip("-"),
        out=out,
        verify=verify,
        environment=env or {},
        kind=kind,
        template=JOB,
        progress=progress,
    )


def experiment_of(capture: Capture) -> str | None:
    """The experiment that the code itself names: its `mlflow.start_run()` refuses a run of another."""
    for node in ast.walk(ast.parse(capture.source)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).rpartition(".")[2] == "set_experiment"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            return node.args[0].value
    return None


def _check_live(function: Any, given: Mapping[str, Any], texts: bool) -> None:
    """Wrong parameters are seen before anything is captured or locked."""
    if kind_of(function) not in ("function", "coroutine", "callable"):
        return  # packaging says why it can't be
    from thinkube.training.parameters import check, parameters_of

    shared = [each.name for each in parameters_of(function) if each.name in _OPTIONS]
    unclear = [each for each in shared if each not in given and _required(function, each)]
    if unclear:
        raise UsageError(
            f"{unclear[0]} is a parameter of {getattr(function, '__name__', 'the function')} and an argument "
            "of submit itself.",
            f"Hand the function's over as parameters={{{unclear[0]!r}: …}}.",
        )
    check(function, given, texts=texts)


def _required(function: Any, name: str) -> bool:
    return inspect.signature(function).parameters[name].default is inspect.Parameter.empty


def _check_gpus(gpus: int | None) -> None:
    from thinkube.training.machine import machine

    if gpus is None or gpus == 0:
        return
    if gpus != 1:
        raise UsageError(f"gpus={gpus} is not possible for a function here.", "Use 0, 1, or leave it out.")
    if not machine().gpus:
        raise MachineTooSmall(
            "The job asks for a GPU; this machine has none.",
            'Leave `gpus` out, or submit it with on="cluster".',
        )
