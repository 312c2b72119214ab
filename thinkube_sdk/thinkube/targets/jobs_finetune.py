"""`tk.finetune`: from rows in a cell to a job."""

from __future__ import annotations

import json
import re
from pathlib import Path
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


def finetune(
    base: str | Path,
    data: Any,
    *,
    name: str | None = None,
    evaluation_data: Any = None,
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
    known = bases.look(draft.base)
    parted = split(rows, draft.held_out, evaluation)
    folder = home() / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    machines.check(draft, known, folder, machines.machine())
    folder = new_folder(folder, chosen)
    _write(folder / "data.jsonl", rows)
    changes: dict[str, Any] = {"columns": {}}
    if Path(draft.base).expanduser().exists():
        changes["base"] = str(Path(draft.base).expanduser().resolve())
    if evaluation is not None:
        _write(folder / "evaluation.jsonl", evaluation)
        changes["evaluation_data"] = "evaluation.jsonl"
    (folder / "recipe.yaml").write_text(draft.model_copy(update=changes).to_yaml(), encoding="utf-8")
    progress(f"{len(parted.train)} rows to learn from, {len(parted.held_out)} held out")
    start(folder)
    return Job(folder.name, LocalPlace(folder))


def _rows(data: Any, draft: Recipe) -> Rows:
    found, source = rows_of(data)
    return check(found, draft.columns, source)


def _write(path: Path, rows: Rows) -> None:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.rows), encoding="utf-8"
    )


def _default_name(base: str) -> str:
    """A tuned model's name from its base's.

    Example:
        >>> _default_name("Qwen/Qwen3-0.6B")
        'qwen3-0.6b-tuned'
    """
    last = base.removeprefix("models:/").rstrip("/").split("/")[-1 if not base.startswith("models:/") else 0]
    plain = re.sub(r"[^a-z0-9.]+", "-", last.removesuffix(".gguf").lower()).strip("-.")
    return f"{plain[:50].strip('-.') or 'model'}-tuned"
