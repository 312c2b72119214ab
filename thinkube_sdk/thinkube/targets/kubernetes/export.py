"""A deployment's objects as YAML: shown before they are made, or a kustomize folder for Git and Argo CD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from thinkube.model.errors import UsageError
from thinkube.model.release import Release
from thinkube.targets.kubernetes import manifests
from thinkube.targets.kubernetes.manifests import Object
from thinkube.targets.kubernetes.plan import Plan
from thinkube.targets.kubernetes.target import KubernetesTarget
from thinkube.targets.target import Rollout

KUSTOMIZATION = "kustomization.yaml"


def planned(target: KubernetesTarget, given: Rollout, release: Release) -> list[Object]:
    """What a rollout would make; nothing is pushed or changed, and no secret's value is in it."""
    before = target.current(given.name)
    plan, values = target.plan(given, release, before, push=False)
    secret = (before.secret if before else "") or f"{given.name}-secrets"
    return manifests.objects(replace(plan, secret=secret if values else ""))


def text(objects: Sequence[Object]) -> str:
    """Objects as one YAML text."""
    return yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=1000)


def write(plan: Plan, folder: Path) -> list[Path]:
    """Write a plan's objects, one a file, and the `kustomization.yaml` that names them.

    Returns:
        The files.

    Raises:
        UsageError: the folder holds something else.
    """
    made = {f"{each['kind'].lower()}.yaml": text([each]) for each in manifests.objects(plan)}
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": plan.namespace,
        "resources": sorted(made),
    }
    note = ""
    if plan.secret:
        note = (
            f"# The Secret {plan.secret} is not among them: its values ({', '.join(plan.secrets)}) belong "
            "into no repository.\n"
        )
    made[KUSTOMIZATION] = note + text([listed])
    _check(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in _resources(folder):
            (folder / old).unlink(missing_ok=True)
        for name, content in made.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error}.", "Name another folder.") from error
    return [folder / name for name in sorted(made)]


def _check(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _resources(folder))):
        raise UsageError(
            f"{folder} holds something else than an exported deployment.",
            "Name an empty folder, one that does not exist, or one that was exported before.",
        )


def _resources(folder: Path) -> list[str]:
    """What an earlier export wrote there, beside the list of it."""
    try:
        listed = yaml.safe_load((folder / KUSTOMIZATION).read_text(encoding="utf-8"))
        return [str(name) for name in listed["resources"] if "/" not in str(name)]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []
