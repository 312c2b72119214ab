"""`tk.finetune`: from rows in a cell to a job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from thinkube.bundles.progress import Progress, silent
from thinkube.model.recipe import Recipe, recipe
from thinkube.model.settings import home
from thinkube.targets.jobs import Job
from thinkube.targets.jobs_local import LocalPlace, new_folder, start
from thinkube.training import base as bases
from thinkube.training import machine as machines
from thinkube.training.data import rows_of
from thinkube.training.rows import Rows, check
from thinkube.training.split import split

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def finetune(
    base: str | Path,
    data: Any,
    *,
    name: str | None = None,
    evaluation_data: Any = None,
    on: str | None = None,
    cluster: Mapping[str, Any] = _NOTHING,
    secrets: Sequence[str] = (),
    progress: Progress = silent,
    **settings: Any,
) -> Job:
    """Fine-tune a model. The job goes on when the notebook is closed; jobs take turns, one a GPU.

    Args:
        base: a folder, a .gguf file, a hub name, or `models:/NAME/VERSION`.
        data: a list of dicts, a DataFrame, a Dataset, or the path of a .jsonl, .json, .csv or .parquet file.
            Rows have `messages`, or `prompt` and `completion`, or `text`.
        name: the tuned model's; the base's with `-tuned` by default.
        evaluation_data: rows to be measured on, in place of a held-out tenth.
        on: a context with a cluster, or `cluster` for the one there is; there the base is what pods see.
        cluster: of the workflow there: image, claim, gpus, node_selector, memory, env, pod, …
        secrets: names of secrets for the cluster's pods, such as HF_TOKEN.
        settings: of the recipe, such as steps=100, learning_rate=1e-4, rank=32.

    Raises:
        DataInvalid: rows can't be trained on; each is named by its number.
        BaseNotFound, AdapterMismatch: the base can't be used.
        MachineTooSmall: disk, memory or GPU don't suffice.
        UsageError: a setting is wrong.

    Example:
        job = tk.finetune("Qwen/Qwen3-0.6B", rows, name="router", steps=100)
        model = job.wait()
    """
    chosen = name or _default_name(str(base))
    # Checked before anything else: a wrong setting is seen without reading the data.
    draft = recipe(name=chosen, base=str(base), data="data.jsonl", **settings)
    rows = _rows(data, draft)
    evaluation = None if evaluation_data is None else _rows(evaluation_data, draft)
    parted = split(rows, draft.held_out, evaluation)
    if on is not None:
        return _on_cluster(on, draft, rows, evaluation, cluster, secrets, progress)
    known = bases.look(draft.base)
    folder = home() / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    machines.check(draft, known, folder, machines.machine())
    folder = new_folder(folder, chosen)
    (folder / "data.jsonl").write_bytes(_lines(rows))
    changes: dict[str, Any] = {"columns": {}}
    if Path(draft.base).expanduser().exists():
        changes["base"] = str(Path(draft.base).expanduser().resolve())
    if evaluation is not None:
        (folder / "evaluation.jsonl").write_bytes(_lines(evaluation))
        changes["evaluation_data"] = "evaluation.jsonl"
    (folder / "recipe.yaml").write_text(draft.model_copy(update=changes).to_yaml(), encoding="utf-8")
    progress(f"{len(parted.train)} rows to learn from, {len(parted.held_out)} held out")
    start(folder)
    return Job(folder.name, LocalPlace(folder))


def _on_cluster(
    on: str,
    draft: Recipe,
    rows: Rows,
    evaluation: Rows | None,
    options: Mapping[str, Any],
    secrets: Sequence[str],
    progress: Progress,
) -> Job:
    from thinkube.targets.argo.submit import submit_workflow

    changes: dict[str, Any] = {"columns": {}}
    files = {"data.jsonl": _lines(rows)}
    if evaluation is not None:
        files["evaluation.jsonl"] = _lines(evaluation)
        changes["evaluation_data"] = "evaluation.jsonl"
    files["recipe.yaml"] = draft.model_copy(update=changes).to_yaml().encode()
    gpus = 1 if draft.gpus is None else draft.gpus
    place = submit_workflow(on, draft.name, files, options, secrets, progress, gpus=gpus)
    return Job(place.name, place)


def _rows(data: Any, draft: Recipe) -> Rows:
    found, source = rows_of(data)
    return check(found, draft.columns, source)


def _lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.rows).encode()


def _default_name(base: str) -> str:
    """A tuned model's name from its base's.

    Example:
        >>> _default_name("Qwen/Qwen3-0.6B")
        'qwen3-0.6b-tuned'
    """
    last = base.removeprefix("models:/").rstrip("/").split("/")[-1 if not base.startswith("models:/") else 0]
    plain = re.sub(r"[^a-z0-9.]+", "-", last.removesuffix(".gguf").lower()).strip("-.")
    return f"{plain[:50].strip('-.') or 'model'}-tuned"
