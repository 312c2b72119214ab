"""From a job in a cell to a workflow of a cluster: its name, volume, rights, and what is handed over."""

from __future__ import annotations

import base64
import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from thinkube.bundles.progress import Progress
from thinkube.model.errors import ServiceNotFound, UsageError
from thinkube.services.contexts import Context, contexts, current
from thinkube.services.discovery import find
from thinkube.services.kubernetes_api import KubernetesApi, Refused, connect
from thinkube.services.secrets import secret
from thinkube.services.table import SERVICES
from thinkube.targets.argo.jobs import ArgoPlace, names, own
from thinkube.targets.argo.workflow import JOB_LABEL, TrainingWorkflow
from thinkube.training.pods import PAYLOAD

ACCOUNT = "thinkube-jobs"
CLAIM = "thinkube-jobs"
IMAGE = "thinkube/jupyter-fine-tuning:python{python}"
_LARGEST = 900_000  # bytes; a ConfigMap holds 1 MiB
_SIZE = "50Gi"
# What the caller may say of a workflow; the rest follows from the job.
OPTIONS = (
    "image", "claim", "gpus", "node_selector", "memory", "cpu", "retries", "env", "keep", "service_account",
    "artifacts", "deploy", "pod",
)  # fmt: skip


def cluster_of(on: str) -> Context:
    """The context that `on` means: of that name, or with `cluster` the one that has a cluster.

    Raises:
        UsageError: there is none, or it can't be told which.
    """
    known = {each.name: each for each in contexts()}
    if on in known and on != "cluster":
        return current(on)
    here = current()
    if on == "cluster" and here.kubernetes is not None:
        return here
    able = [name for name, each in known.items() if each.kubernetes is not None and name != "in-cluster"]
    if on == "cluster" and len(able) == 1:
        return current(able[0])
    raise UsageError(
        f"on={on!r} names no cluster: {', '.join(able) or 'no context'} has one.",
        f'Name the context, such as on="{able[0] if able else "team"}"; `thinkube context list` shows them.',
    )


def submit_workflow(
    on: str,
    name: str,
    files: Mapping[str, bytes],
    options: Mapping[str, Any],
    secrets: Sequence[str],
    progress: Progress,
    **decided: Any,
) -> ArgoPlace:
    """Hand files over and create the workflow.

    Args:
        on: the context.
        name: the model's or function's; a number is added.
        files: what is unpacked into the job's folder.
        options: fields of `TrainingWorkflow` that the caller chose.
        secrets: names of secrets that become variables.
        decided: fields that follow from the job.

    Raises:
        UsageError: an option is unknown, or the files are too large to be handed over.
        ClusterError: the cluster can't be used.
    """
    given = _checked(options)
    payload = _packed(files)
    api = connect(cluster_of(on))
    env, hidden = _services(api.context, given.pop("env", {}), progress)
    hidden.update({each: secret(each) for each in secrets})
    claim = str(given.pop("claim", None) or _kubernetes(api, "claim") or CLAIM)
    account = str(given.pop("service_account", None) or _account(api))
    _volume(api, claim, progress)
    chosen = _reserve(api, name, payload)
    wanted = TrainingWorkflow(
        name=chosen,
        image=str(given.pop("image", None) or _image(api)),
        claim=claim,
        # A name may come again when an earlier job is gone from the cluster; its folder must not.
        folder=f"{chosen}-{token_hex(3)}",
        payload=chosen,
        env=env,
        secret=chosen if hidden else None,
        service_account=account,
        **{**decided, **given},
    )
    if hidden:
        _keep_secret(api, chosen, hidden)
    try:
        made = api.create(wanted.workflow().to_dict())
    except BaseException:
        _discard(api, chosen)
        raise
    own(api, chosen, made)
    progress(f"job {chosen} is the workflow {made['metadata']['name']} in {api.namespace}")
    return ArgoPlace(api, chosen)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name for each in fields(TrainingWorkflow)} & set(OPTIONS)
    for key in options:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"cluster={{…}} knows no {key!r}.", f"{hint}Known: {', '.join(OPTIONS)}.")
    return dict(options)


def _packed(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    if len(made.getvalue()) > _LARGEST:
        raise UsageError(
            f"What the job needs takes {len(made.getvalue()) / 1e6:.1f} MB packed; a cluster's API takes "
            f"{_LARGEST / 1e6:.1f}.",
            "Put the rows into a data set on a hub or the volume, and name its path in a recipe: "
            "thinkube new tkt-fine-tuning-job.",
        )
    return made.getvalue()


def _services(
    context: Context, env: Mapping[str, Any], progress: Progress
) -> tuple[dict[str, str], dict[str, str]]:
    """Variables that lead the pods to MLflow; credentials apart."""
    plain, hidden = {key: str(value) for key, value in env.items()}, dict[str, str]()
    way = SERVICES["mlflow"].environments[0]
    if way.url in plain:
        return plain, hidden
    try:
        endpoint = find("mlflow", context=context.name)
    except ServiceNotFound:
        progress("no MLflow is known in this context: the run is kept on the job's volume only")
        return plain, hidden
    if urlsplit(endpoint.url).hostname in ("localhost", "127.0.0.1", "::1"):
        raise UsageError(
            f"MLflow is known as {endpoint.url}, which is another place in a pod.",
            f'Say how pods reach it: cluster={{"env": {{"{way.url}": "http://…"}}}}.',
        )
    plain[str(way.url)] = endpoint.url
    if endpoint.credential and way.username and endpoint.credential.username:
        hidden[way.username] = endpoint.credential.username
    if endpoint.credential and way.secret:
        hidden[way.secret] = endpoint.credential.secret
    return plain, hidden


def _kubernetes(api: KubernetesApi, key: str) -> str | None:
    value: str | None = getattr(api.context.kubernetes, key)
    return value


def _image(api: KubernetesApi) -> str:
    registry = _kubernetes(api, "pull") or _kubernetes(api, "registry")
    named = _kubernetes(api, "training") or (f"{registry}/{IMAGE}" if registry else IMAGE)
    return named.replace("{python}", f"{sys.version_info.major}.{sys.version_info.minor}")


def _account(api: KubernetesApi) -> str:
    """A service account whose pods may report their results to Argo, and nothing else."""
    rules = [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    meta = {"name": ACCOUNT, "labels": {"app.kubernetes.io/managed-by": "thinkube"}}
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": api.namespace}
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    api.apply({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    role = {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT}
    api.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": role,
            "subjects": [subject],
        }
    )
    return ACCOUNT


def _volume(api: KubernetesApi, claim: str, progress: Progress) -> None:
    if api.get("PersistentVolumeClaim", claim) is not None:
        return
    progress(f"making the volume {claim} ({_SIZE}) in {api.namespace}, for the folders of jobs")
    api.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "labels": {"app.kubernetes.io/managed-by": "thinkube"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _SIZE}}},
        }
    )


def _reserve(api: KubernetesApi, name: str, payload: bytes) -> str:
    """The first free number of a name: whoever creates its ConfigMap has it."""
    taken = set(names(api))
    number = 1
    while True:
        chosen = f"{name}-{number}"
        if chosen not in taken:
            try:
                api.create(
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {"name": chosen, "labels": {JOB_LABEL: chosen}},
                        "binaryData": {PAYLOAD: base64.b64encode(payload).decode()},
                    }
                )
            except Refused as error:
                if error.status != 409:
                    raise
            else:
                return chosen
        number += 1


def _keep_secret(api: KubernetesApi, name: str, values: Mapping[str, str]) -> None:
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {JOB_LABEL: name}},
            "stringData": dict(values),
        }
    )


def _discard(api: KubernetesApi, name: str) -> None:
    api.delete("ConfigMap", name)
    api.delete("Secret", name)
