"""`tk.package` and `tk.deploy`: from an object to a project, and to a running deployment."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkube.bundles.progress import printed as _say
from thinkube.model.bundle import Manifest
from thinkube.model.capture import Capture
from thinkube.model.errors import ObjectUnsupported, UsageError
from thinkube.model.kinds import Kind, kind_of
from thinkube.model.manifest import KEYS, MOST_REPLICAS
from thinkube.model.release import Release
from thinkube.services.secrets import known, secret
from thinkube.targets.deployment import Deployment
from thinkube.targets.place import target_of
from thinkube.targets.target import Progress, Target

if TYPE_CHECKING:
    from thinkube.bundles.package import Package
    from thinkube.targets.gate import Gate
    from thinkube.targets.kubernetes.target import KubernetesTarget

_NOTHING: Mapping[str, str] = {}


def package(
    subject: Any,
    *,
    object: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    verify: bool = True,
    env: Mapping[str, str] | None = None,
    secrets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    progress: Progress | None = None,
) -> Package:
    """Write the code an object needs as a project of its own: source, locked requirements, Dockerfile, tests.

    Args:
        subject: a live object of this notebook, or the path of a notebook (.ipynb) or module (.py).
        object: the variable that holds the object; needed with a path.
        name: the project's name; from the variable's if not given.
        out: the folder to write; without it the project is in the content store.
        verify: import the result in a clean environment made from the lock.
        env: plain settings of the process that will run it.
        secrets: names of secrets it needs, beside those the code is seen to read.
        freeze: variables whose values are stored as data files instead of being computed again, in a safe
            format; `"index:pickle"` asks for pickle by name. Only for live objects.
        progress: called with each line on what is being done; printed if not given.

    Raises:
        CaptureError: the code can't be taken out of the notebook.
        BundleError: it can't be locked, or does not import by itself.

    Example:
        tk.package(agent, out="project")
    """
    made, _ = _packaged(
        subject,
        object,
        name,
        env=env,
        secrets=secrets,
        freeze=freeze,
        out=out,
        verify=verify,
        progress=progress or _say,
    )
    return made


def deploy(
    subject: Any,
    *,
    name: str | None = None,
    object: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | Sequence[str] | None = None,
    freeze: Sequence[str] = (),
    timeout: float = 120.0,
    on: str | None = None,
    replicas: int | None = None,
    cpu: str | float | None = None,
    memory: str | None = None,
    evaluate: Any = None,
    metrics: Sequence[str | Callable[..., float]] | None = None,
    require: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Deployment:
    """Run an object as a service: capture, lock, import it where it will run, register, switch traffic to it.

    Args:
        subject: a live object of this notebook, or the path of a notebook (.ipynb) or module (.py).
        name: the deployment's name; from the variable's if not given. A deployment of that name gets a
            new release and keeps its URL; no request is dropped.
        object: the variable that holds the object; needed with a path.
        env: plain settings of its process; they are part of the release.
        secrets: names of secrets to hand on (`tk.secret`), or names with values; never written down.
        freeze: as in `package`.
        timeout: seconds it may take until it is ready.
        on: where: a context's name, `local` for this machine, `cluster` for the only cluster there is. The
            current context decides if not given.
        replicas: how many processes, or pods, serve it; as many as now if not given, and one at first.
        cpu: cores that each asks for on a cluster, such as 0.5 or `"500m"`.
        memory: what each may use on a cluster, such as `"512Mi"`.
        evaluate: rows with `input` and `expected` (dicts, a DataFrame, a file): the new release answers them
            before it takes traffic. It is refused below the bar, or below the running release on these rows.
        metrics: `exact_match`, `contains`, or functions `(output, expected) -> number`; more is better.
        require: the least mean of a metric, such as `{"exact_match": 0.8}`.
        progress: called with each line on what is being done; printed if not given.

    Raises:
        CaptureError, BundleError: see `package`.
        ClusterError: the cluster can't be used.
        SecretNotFound: a secret named in `secrets` is neither stored nor an environment variable.
        ServiceError: MLflow, where releases are registered, is known and can't be used.
        RolloutFailed: it did not get ready. What ran before still does.
        EvaluationFailed: it answers worse than it has to. What ran before still has the traffic.

    Example:
        deployment = tk.deploy(agent, name="docs-agent")
        deployment.ask("What does zip do?")
    """
    from thinkube.bundles.registry import expected, register
    from thinkube.targets.gated import passed
    from thinkube.targets.rollout import ordered, roll_out

    say = progress or _say
    checked = _gate(evaluate, metrics, require)
    given = _secrets(secrets)
    target = target_of(on, say)
    # The candidate is imported in its locked environment before it is registered: that verifies it.
    made, kind = _packaged(
        subject,
        object,
        name,
        env=env,
        secrets=tuple(given),
        freeze=freeze,
        out=None,
        verify=False,
        size=_size(replicas, cpu, memory),
        progress=say,
    )
    manifest = made.manifest
    for name in sorted(set(manifest.secrets) - set(given)):
        if known(name) is None:
            say(f"{name} is read by the code and set nowhere: `thinkube secret set {name}` stores it")

    def registered() -> Release:
        scored = passed(checked, target, manifest, made.path, given, say) if checked else {}
        return register(replace(made, verified=True), manifest.name, {**_lineage(), **scored}, progress=say)

    with ordered(manifest.name, say):
        _tell_of_another(target, manifest, say)
        release = expected(manifest.name, made.digest)
        rollout = target.prepared(made.path, given, timeout=timeout, release=release, progress=say)
        say(f"importing {manifest.entrypoint} in its own environment")
        status = roll_out(target, made, rollout, registered, kind=kind, progress=say)
    say(f"release {status.release.version} of {status.name} takes requests at {status.url}")
    return Deployment(status.name, target)


def dry_run(
    subject: Any,
    *,
    name: str | None = None,
    object: str | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | Sequence[str] | None = None,
    freeze: Sequence[str] = (),
    timeout: float = 120.0,
    on: str | None = None,
    replicas: int | None = None,
    cpu: str | float | None = None,
    memory: str | None = None,
    progress: Progress | None = None,
) -> str:
    """The Kubernetes objects that `deploy` with these arguments would make, as YAML; nothing is changed.

    Raises:
        UsageError: it would run on this machine, without any manifest.
    """
    from thinkube.bundles.registry import expected
    from thinkube.targets.kubernetes.export import planned, text

    say = progress or _say
    given = _secrets(secrets)
    target = _cluster(on, say)
    made, _ = _packaged(
        subject, object, name, env=env, secrets=tuple(given), freeze=freeze, out=None, verify=False,
        size=_size(replicas, cpu, memory), progress=say,
    )  # fmt: skip
    release = expected(made.manifest.name, made.digest)
    rollout = target.prepared(made.path, given, timeout=timeout, release=release, progress=say)
    return text(planned(target, rollout, release))


def export(name: str, folder: str | Path, on: str | None = None) -> list[Path]:
    """Write a deployment's objects as a kustomize folder, for Git and Argo CD.

    Returns:
        The files.

    Raises:
        DeploymentNotFound: there is none of that name.
        UsageError: it runs on this machine, or the folder holds something else.
    """
    from thinkube.targets.kubernetes.export import write

    target = _cluster(on, _say)
    target.status(name)
    plan = target.current(name)
    assert plan is not None
    return write(plan, Path(folder))


def _cluster(on: str | None, say: Progress) -> KubernetesTarget:
    from thinkube.targets.kubernetes.target import KubernetesTarget

    target = target_of(on, say)
    if not isinstance(target, KubernetesTarget):
        raise UsageError(
            "On this machine an agent is a process, which no manifest describes.",
            "Name the cluster's context: --on NAME (`thinkube context list`).",
        )
    return target


def _size(replicas: int | None, cpu: str | float | None, memory: str | None) -> tuple[int, str, str]:
    if replicas is not None and not 1 <= replicas <= MOST_REPLICAS:
        raise UsageError(f"replicas={replicas} can't be.", f"Use a number from 1 to {MOST_REPLICAS}.")
    return replicas or 0, "" if cpu is None else f"{cpu}", memory or ""


def _gate(
    evaluate: Any, metrics: Sequence[str | Callable[..., float]] | None, require: Mapping[str, float] | None
) -> Gate | None:
    if evaluate is not None:
        from thinkube.targets.gate import gate

        return gate(evaluate, metrics, require)
    if metrics or require:
        raise UsageError(
            "metrics= and require= say how rows are scored, and there are none.", "Add evaluate=rows."
        )
    return None


def _tell_of_another(target: Target, manifest: Manifest, say: Progress) -> None:
    """Two notebooks often call their variable `agent`: the second is told whose URL it takes."""
    if manifest.name not in target.names():
        return
    before, now = (
        lineage.get("notebook")
        for lineage in (target.status(manifest.name).release.lineage, manifest.lineage)
    )
    if before and now and before != now:
        say(f"{manifest.name} was deployed from {before}, which this replaces; another name keeps both")


def deployments(on: str | None = None) -> list[Deployment]:
    """Every deployment of a place (see `deploy`), by name."""
    target = target_of(on)
    return [Deployment(name, target) for name in target.names()]


def deployment(name: str, on: str | None = None) -> Deployment:
    """One deployment of a place (see `deploy`).

    Raises:
        DeploymentNotFound: there is none of that name.
    """
    target = target_of(on)
    target.status(name)
    return Deployment(name, target)


def _packaged(
    subject: Any,
    variable: str | None,
    name: str | None,
    *,
    env: Mapping[str, str] | None,
    secrets: Sequence[str],
    freeze: Sequence[str],
    out: str | Path | None,
    verify: bool,
    size: tuple[int, str, str] = (0, "", ""),
    progress: Progress,
) -> tuple[Package, Kind | None]:
    from thinkube.bundles.package import Size
    from thinkube.bundles.package import package as bundle

    if name is not None and not re.fullmatch(KEYS["name"].pattern, name):
        raise UsageError(
            f"{name!r} can't name a deployment: lower-case letters, digits and hyphens, at most 53.",
            f'Use name="{slug(name)}".',
        )
    capture, kind = captured(subject, variable, progress, freeze)
    if secrets:
        capture = replace(capture, secrets=tuple(sorted({*capture.secrets, *secrets})))
    made = bundle(
        capture,
        name=name or slug(capture.name),
        out=Path(out) if out is not None else None,
        verify=verify,
        environment=env or _NOTHING,
        kind=kind,
        size=Size(*size),
        progress=progress,
    )
    return made, kind


def captured(
    subject: Any, name: str | None, progress: Progress, freeze: Sequence[str] = ()
) -> tuple[Capture, Kind | None]:
    """Take the code of a live object, or of one in a file; with the kind the live object is."""
    if isinstance(subject, str | Path):
        return _from_file(Path(subject), name, progress, freeze), None
    kind = kind_of(subject)
    if kind is None:
        raise ObjectUnsupported(
            f"{name or 'The object'} is a {type(subject).__name__}, which can't be deployed.",
            "Deploy a LangGraph graph, a LangChain runnable, or a function (plain, async or generator).",
        )
    from thinkube.capture.kernel import capture_live

    progress("taking the code it needs out of the notebook")
    return capture_live(subject, name=name, freeze=freeze), kind


def _from_file(path: Path, name: str | None, progress: Progress, freeze: Sequence[str]) -> Capture:
    if name is None:
        raise UsageError(f"{path} holds many names and none was chosen.", 'Say which one: object="agent"')
    progress(f"taking the code that {name} needs out of {path.name}")
    if path.suffix == ".ipynb":
        from thinkube.capture.notebook_file import capture_notebook

        return capture_notebook(path, name, freeze=freeze)
    if path.suffix == ".py":
        from thinkube.capture.module_file import capture_module

        return capture_module(path, name, freeze=freeze)
    raise UsageError(f"{path} is neither a notebook (.ipynb) nor a module (.py).", "Name one of these.")


def slug(variable: str) -> str:
    """A deployment's name from a variable's.

    Example:
        >>> slug("docs_agent"), slug("Größe2"), slug("_")
        ('docs-agent', 'groe2', 'agent')
    """
    plain = unicodedata.normalize("NFKD", variable).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:53].strip("-") or "agent"


def _secrets(secrets: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    if isinstance(secrets, Mapping):
        return dict(secrets)
    names = [secrets] if isinstance(secrets, str) else list(secrets or ())
    return {name: secret(name) for name in names}


def _lineage() -> dict[str, str]:
    """The MLflow run that is open where `deploy` is called."""
    mlflow = sys.modules.get("mlflow")
    run = mlflow.active_run() if mlflow is not None else None
    return {"run": run.info.run_id} if run is not None else {}
