"""A candidate's way through the gate: scored beside what runs, written down in MLflow, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from thinkube.bundles.store import Store
from thinkube.model.bundle import Manifest
from thinkube.model.errors import BundleError, ServiceError, ServiceNotFound
from thinkube.model.release import Release
from thinkube.services.discovery import find
from thinkube.services.mlflow_rest import MlflowRest, pairs
from thinkube.targets.gate import Gate
from thinkube.targets.scores import Score
from thinkube.targets.target import Progress, Target
from thinkube.targets.variables import settings, variables

_DATASET, _RUN, _METRIC = "evaluation.dataset", "evaluation.run", "evaluation."


def passed(
    gate: Gate, target: Target, manifest: Manifest, bundle: Path, given: Mapping[str, str], say: Progress
) -> dict[str, str]:
    """Score a candidate and let it pass; what its release's lineage keeps of that.

    Raises:
        EvaluationFailed: it is below the bar, or below the running release.
    """
    means, answered = gate.scores(bundle, {**settings(), **variables(manifest, given)}, say)
    say("; ".join(f"{name} {mean:.3f}" for name, mean in means.items()))
    running = _of_running(gate, target, manifest, given, say)
    run = _recorded(gate, manifest, bundle, means, answered, say)
    gate.judge(manifest.name, means, answered, running)
    kept = {f"{_METRIC}{name}": repr(mean) for name, mean in means.items()}
    return {_DATASET: gate.digest, **kept, **({_RUN: run} if run else {})}


def _of_running(
    gate: Gate, target: Target, manifest: Manifest, given: Mapping[str, str], say: Progress
) -> Mapping[str, float] | None:
    """The running release's scores on the same rows: from its lineage, or by asking its bundle too."""
    if manifest.name not in target.names():
        return None
    release: Release = target.status(manifest.name).release
    names = [f"{_METRIC}{name}" for name in gate.metrics]
    if release.lineage.get(_DATASET) == gate.digest and all(name in release.lineage for name in names):
        return {name: float(release.lineage[f"{_METRIC}{name}"]) for name in gate.metrics}
    try:
        bundle = Store().get(release.digest)
    except BundleError as error:
        say(f"release {release.version} can't be compared: {error.cause}")
        return None
    say(f"release {release.version}, which runs, was not evaluated on these rows")
    means, _ = gate.scores(bundle, {**settings(), **variables(manifest, given)}, say)
    return means


def _recorded(
    gate: Gate,
    manifest: Manifest,
    bundle: Path,
    means: Mapping[str, float],
    answered: Sequence[Score],
    say: Progress,
) -> str | None:
    """Keep the evaluation in MLflow, where there is one; the run's id. It is kept also where it fails."""
    try:
        endpoint = find("mlflow")
    except ServiceNotFound:
        return None
    if not endpoint.url.startswith(("http://", "https://")):
        return None
    try:
        with MlflowRest(endpoint) as server:
            return _sent(server, gate, manifest, bundle, means, answered)
    except ServiceError as error:
        say(f"the evaluation is not in MLflow: {error.cause}")
        return None


def _sent(
    server: MlflowRest,
    gate: Gate,
    manifest: Manifest,
    bundle: Path,
    means: Mapping[str, float],
    answered: Sequence[Score],
) -> str:
    name = f"{manifest.name}-evaluation"
    found = server.get("/experiments/get-by-name", {"experiment_name": name})
    made = found["experiment"] if found else server.post("/experiments/create", {"name": name})
    assert made is not None
    now = int(time.time() * 1000)
    began = {
        "experiment_id": made["experiment_id"],
        "start_time": now,
        "run_name": f"{manifest.name} {bundle.name[:12]}",
    }
    created = server.post("/runs/create", began)
    assert created is not None
    info = created["run"]["info"]
    values = [{"key": key, "value": value, "timestamp": now, "step": 0} for key, value in means.items()]
    told = {"bundle": bundle.name, "dataset": gate.digest, "rows": str(len(answered))}
    bars = {f"require.{metric}": repr(bar) for metric, bar in gate.require.items()}
    server.post(
        "/runs/log-batch", {"run_id": info["run_id"], "metrics": values, "params": pairs({**told, **bars})}
    )
    lines = [
        json.dumps({"input": each.question.given, "expected": each.question.expected, "output": each.output,
                    "error": each.error, **each.values}, ensure_ascii=False, default=str)
        for each in answered
    ]  # fmt: skip
    server.put_artifact(info["artifact_uri"], "answers.jsonl", "\n".join(lines).encode())
    server.post(
        "/runs/update", {"run_id": info["run_id"], "status": "FINISHED", "end_time": int(time.time() * 1000)}
    )
    return str(info["run_id"])
