"""Jobs outlive the notebook, and go on from where they were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.training.questions import ROWS

from thinkube.errors import BaseNotFound, DataInvalid, JobFailed, JobNotFound, MachineTooSmall, UsageError
from thinkube.services.state import State
from thinkube.targets.jobs import Job, job, jobs
from thinkube.targets.jobs_finetune import finetune

SHORT: dict[str, Any] = {
    "batch": 4, "quantization": "none", "evaluation_rows": 4, "answer_tokens": 4, "checkpoint_every": 2,
    "learning_rate": 1e-2, "gpus": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_left(home: Path) -> Iterator[None]:
    assert home
    yield
    for each in jobs():
        each.stop()


def trainer_of(running: Job) -> psutil.Process:
    """The process that trains."""
    keeper = json.loads((running.folder / "job.json").read_text())["keeper"]
    children = psutil.Process(keeper).children()
    return next(each for each in children if "thinkube.training" in each.cmdline())


def test_a_killed_job_goes_on_to_the_same_model_in_the_same_run(
    stack: State, tiny: Path, eventually: Callable[..., None]
) -> None:
    assert stack
    whole = finetune(tiny, ROWS, name="survivor", steps=6, **SHORT)
    killed = finetune(tiny, ROWS, name="survivor", steps=6, **SHORT)
    assert killed.progress.phase in ("environment", "queued")
    first = whole.wait(progress=False)

    eventually(lambda: killed.progress.step >= 3, 120)
    trainer_of(killed).kill()
    with pytest.raises(JobFailed, match="SIGKILL"):
        killed.wait(progress=False)
    second = killed.resume().wait(progress=False)

    assert [entry["loss"] for entry in killed.metrics] == [entry["loss"] for entry in whole.metrics]
    assert second.digest == first.digest
    assert (first.version, second.version) == (1, 2)
    assert "going on from step 2" in "\n".join(killed.logs())
    tuned = killed.evaluation
    assert tuned is not None
    assert tuned.tuned["loss"] < tuned.base["loss"]
    assert len(tuned.examples) == 4
    _one_run_in_mlflow(killed, second.lineage["run"])


def _one_run_in_mlflow(killed: Job, run: str) -> None:
    from thinkube.services.clients import mlflow

    client = mlflow().MlflowClient()
    found = client.get_run(run)
    runs = client.search_runs([found.info.experiment_id], f"tags.`thinkube.job` = '{killed.name}'")
    assert [each.info.run_id for each in runs] == [run]
    assert found.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run, "loss")] == [1, 2, 3, 4, 5, 6]
    assert found.inputs.dataset_inputs[0].dataset.digest == killed.release.lineage["data"][:36]  # type: ignore[union-attr]
    paths = {item.path for item in client.list_artifacts(run)}
    assert {"model", "recipe.yaml", "environment", "code", "examples.json"} <= paths


def test_a_job_outlives_what_started_it_and_can_be_stopped(
    tiny: Path, eventually: Callable[..., None]
) -> None:
    notebook = (
        "import json, sys; from thinkube.targets.jobs_finetune import finetune\n"
        "rows, settings = json.loads(sys.argv[2]), json.loads(sys.argv[3])\n"
        "finetune(sys.argv[1], rows, name='orphan', steps=4000, **settings)\n"
    )
    argv = [sys.executable, "-c", notebook, str(tiny), json.dumps(ROWS), json.dumps(SHORT)]
    subprocess.run(argv, check=True, start_new_session=True)

    orphan = job("orphan-1")
    eventually(lambda: orphan.progress.step >= 1, 120)
    orphan.stop()

    step = orphan.progress.step
    assert orphan.status == "stopped"
    assert (orphan.folder / "run" / "checkpoints" / f"checkpoint-{step}" / "complete.json").is_file()
    with pytest.raises(JobFailed, match=f"was stopped at step {step} of 4000"):
        orphan.wait(progress=False)


def test_a_job_whose_processes_are_gone_is_interrupted(tiny: Path, eventually: Callable[..., None]) -> None:
    lost = finetune(tiny, ROWS, name="lost", steps=4000, **SHORT)
    keeper = psutil.Process(json.loads((lost.folder / "job.json").read_text())["keeper"])
    eventually(lambda: any("thinkube.training" in c.cmdline() for c in keeper.children(recursive=True)), 60)
    children = keeper.children(recursive=True)

    os.kill(keeper.pid, signal.SIGKILL)

    eventually(lambda: lost.status == "interrupted")
    eventually(lambda: not any(child.is_running() and child.status() != "zombie" for child in children))
    with pytest.raises(JobFailed, match="was interrupted"):
        lost.wait(progress=False)


@pytest.mark.parametrize(
    ("data", "settings", "error"),
    [
        ([], {}, DataInvalid),
        ([{"prompt": "a"}], {}, DataInvalid),
        (ROWS, {"steps": 0}, UsageError),
        (ROWS, {"gpus": 1}, MachineTooSmall),
        (ROWS, {"outputs": ("onnx",)}, UsageError),
        (ROWS, {"base": "/nowhere"}, BaseNotFound),
    ],
)
def test_bad_input_is_refused_at_the_call(
    tiny: Path,
    data: list[dict[str, str]],
    settings: dict[str, Any],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that the test is the same where there is a GPU.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = jobs()

    with pytest.raises(error):
        finetune(settings.pop("base", tiny), data, name="refused", **settings)

    assert jobs() == before


def test_says_which_jobs_there_are() -> None:
    with pytest.raises(JobNotFound, match="There is no job 'nothing'"):
        job("nothing")
