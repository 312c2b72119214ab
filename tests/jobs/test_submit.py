"""A function of a notebook as a job: run, followed, killed, resumed, queued."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from thinkube.errors import JobFailed, MachineTooSmall, SecretNotFound, UsageError, VerificationFailed
from thinkube.services.state import State
from thinkube.targets.jobs import Job, job, jobs
from thinkube.targets.jobs_submit import submit
from thinkube.training.state import ENDED

QUIET: dict[str, Any] = {"progress": lambda _line: None, "gpus": 0}


def worker_of(running: Job) -> psutil.Process:
    """The process that runs the function."""
    keeper = json.loads((running.folder / "job.json").read_text())["keeper"]
    children = psutil.Process(keeper).children()
    return next(each for each in children if "thinkube.training.function" in each.cmdline())


def test_a_killed_function_goes_on_from_its_checkpoint_in_the_same_run(
    stack: State, study: Path, eventually: Callable[..., None]
) -> None:
    assert stack
    killed = submit(study, object="train", name="parabola", steps=60, pause=0.1, label="é", **QUIET)
    eventually(lambda: killed.progress.step >= 3, 60)
    worker_of(killed).kill()
    with pytest.raises(JobFailed, match="SIGKILL"):
        killed.wait(60, progress=False)
    run = killed.progress.run

    result = killed.resume().wait(120, progress=False)

    assert result == killed.result == {"x": pytest.approx(4 * 0.8**60), "label": "é"}
    log = list(killed.logs())
    begun = [int(line.split()[2]) for line in log if line.startswith("begins at")]
    assert begun[0] == 0
    assert begun[1] >= 3
    assert "a look at the data" not in "\n".join(log)
    assert killed.status == "finished"
    assert (killed.progress.step, killed.progress.steps, killed.progress.run) == (60, 60, run)
    assert [entry["step"] for entry in killed.metrics] == list(range(1, 61))
    _one_run_in_mlflow(killed, str(run))


def _one_run_in_mlflow(killed: Job, run: str) -> None:
    from thinkube.services.clients import mlflow

    client = mlflow().MlflowClient()
    found = client.get_run(run)
    assert client.get_experiment(found.info.experiment_id).name == "parabola"
    runs = client.search_runs([found.info.experiment_id], f"tags.`thinkube.job` = '{killed.name}'")
    assert [each.info.run_id for each in runs] == [run]
    assert found.info.status == "FINISHED"
    assert found.data.params == {"steps": "60", "pause": "0.1", "label": "é"}
    assert found.data.tags["mlflow.source.name"] == "study.ipynb"
    assert len(found.data.tags["thinkube.digest"]) == 64
    steps = [metric.step for metric in client.get_metric_history(run, "loss")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 60
    assert [item.path for item in client.list_artifacts(run, "code")] == ["code/train_source.py"]
    assert {item.path for item in client.list_artifacts(run)} >= {"environment", "returned.json"}


def test_a_stopped_function_can_put_its_things_in_order(
    notebook: Callable[..., Path], empty_home: Path, eventually: Callable[..., None]
) -> None:
    assert empty_home
    path = notebook(
        "import time, thinkube as tk",
        "def train():\n"
        "    tk.report(1, 2)\n"
        "    try:\n"
        "        while True:\n"
        "            time.sleep(1)\n"
        "    finally:\n"
        "        (tk.checkpoints() / 'tidied').write_text('yes')\n",
    )
    endless = submit(path, object="train", **QUIET)
    eventually(lambda: endless.progress.step == 1, 60)

    endless.stop(30)

    assert endless.status == "stopped"
    assert (endless.folder / "run" / "checkpoints" / "tidied").read_text() == "yes"
    with pytest.raises(JobFailed, match="was stopped at step 1 of 2"):
        endless.wait(progress=False)


def test_one_that_will_not_stop_is_ended_by_force(
    notebook: Callable[..., Path], empty_home: Path, eventually: Callable[..., None]
) -> None:
    assert empty_home
    stubborn = notebook(
        "import time, thinkube as tk",
        "def train():\n"
        "    while True:\n"
        "        try:\n"
        "            tk.report(1)\n"
        "            time.sleep(1)\n"
        "        except KeyboardInterrupt:\n"
        "            pass\n",
    )
    endless = submit(stubborn, object="train", **QUIET)
    eventually(lambda: endless.progress.step == 1, 60)
    worker = worker_of(endless)
    with pytest.raises(TimeoutError, match="kill=True"):
        endless.stop(0.5)

    endless.stop(0.5, kill=True)

    assert endless.status == "interrupted"
    eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_jobs_take_turns_in_their_order(
    study: Path, empty_home: Path, eventually: Callable[..., None]
) -> None:
    assert empty_home
    first, second, third = (
        submit(study, object="train", steps=steps, pause=0.05, **QUIET) for steps in (40, 5, 5)
    )
    seen = set()

    def over() -> bool:
        states = [each.progress.phase for each in (first, second, third)]
        seen.add(sum(phase in ("preparing", "running") for phase in states))
        return all(phase in ENDED for phase in states)

    eventually(over, 120)

    assert {each.status for each in (first, second, third)} == {"finished"}
    assert max(seen) == 1
    ended = [(each.folder / "run" / "returned.json").stat().st_mtime_ns for each in (first, second, third)]
    assert ended == sorted(ended)


def test_how_many_run_at_once_is_a_setting(
    study: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    assert empty_home
    monkeypatch.setenv("THINKUBE_JOBS_AT_ONCE", "2")
    both = [submit(study, object="train", steps=9000, pause=0.05, **QUIET) for _ in range(2)]

    eventually(lambda: all(each.progress.phase == "running" for each in both), 60)

    for each in both:
        each.stop(30)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({}, UsageError, "steps .int. is missing"),
        ({"steps": "many"}, UsageError, "steps: .*not 'many'"),
        ({"steps": 3, "stepz": 4}, UsageError, "no 'stepz'"),
        ({"steps": 3, "secrets": ["NOWHERE_TO_BE_FOUND"]}, SecretNotFound, "NOWHERE_TO_BE_FOUND"),
        ({"steps": 3, "gpus": 1}, MachineTooSmall, "this machine has none"),
        ({"steps": 3, "name": "Not A Name"}, UsageError, "can't name a job"),
    ],
)
def test_bad_calls_are_refused_before_anything_runs(
    study: Path,
    empty_home: Path,
    settings: dict[str, Any],
    error: type[Exception],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no nvidia-smi: the same where there is a GPU
    with pytest.raises(error, match=told):
        submit(study, object="train", **{**QUIET, **settings})
    assert jobs() == []
    assert not any((empty_home / "jobs").glob("*"))


def test_code_that_does_not_import_and_things_that_are_no_function(
    notebook: Callable[..., Path], empty_home: Path
) -> None:
    assert empty_home
    path = notebook(
        "limit = 1 / 0", "def train():\n    return limit\n", "def numbers():\n    yield 1\n", "n = 3"
    )
    with pytest.raises(VerificationFailed, match="ZeroDivisionError"):
        submit(path, object="train", **QUIET)
    for name in ("numbers", "n"):
        with pytest.raises(VerificationFailed, match="not a function"):
            submit(path, object=name, **QUIET)
    assert jobs() == []


def test_secrets_reach_the_function_by_name_and_no_file(
    notebook: Callable[..., Path], empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = notebook("import thinkube as tk", "def train():\n    return len(tk.secret('HUB_TOKEN'))\n")
    monkeypatch.setenv("HUB_TOKEN", "s3cret-of-the-hub")

    assert submit(path, object="train", **QUIET).wait(60, progress=False) == 17

    for file in empty_home.rglob("*"):
        assert not (file.is_file() and b"s3cret-of-the-hub" in file.read_bytes()), file


def test_what_it_raises_ends_the_job_and_what_has_no_json_is_kept_as_text(
    notebook: Callable[..., Path], empty_home: Path
) -> None:
    assert empty_home
    path = notebook(
        "def fails(size: int):\n    raise ValueError(f'no batch of {size}')\n",
        "async def gives():\n    return {'model': object, 'rows': {1, 2}}\n",
    )
    failed = submit(path, object="fails", size=3, **QUIET)
    with pytest.raises(JobFailed, match="ValueError: no batch of 3"):
        failed.wait(60, progress=False)
    assert any("raise ValueError" in line for line in failed.logs())

    given = submit(path, object="gives", **QUIET)
    assert given.wait(60, progress=False) == "{'model': <class 'object'>, 'rows': {1, 2}}"


def test_from_a_live_notebook_and_its_magic(study: Path, empty_home: Path, tmp_path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(study, 4).cells]
    live = new_notebook(
        cells=[
            new_code_cell(source)
            for source in (
                *cells,
                "try:\n    tk.submit(train, steps='3')\nexcept Exception as e:\n    print(type(e).__name__)",
                "job = tk.submit(train, steps=4, gpus=0)\nprint(job.wait(progress=False))",
                "%load_ext thinkube\n%thinkube submit train -p steps=2 --gpus 0",
            )
        ]
    )
    client = NotebookClient(
        live, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env={**os.environ, "THINKUBE_HOME": str(empty_home)})

    assert live.cells[3].outputs[0].text == "UsageError\n"
    assert "'label': 'x'}" in "".join(output.text for output in live.cells[4].outputs)
    # The kernel is gone; the second job is not.
    assert job("train-2").wait(60, progress=False) == {"x": pytest.approx(4 * 0.8**2), "label": "x"}


def test_the_command_submits_and_tells_of_jobs(study: Path, empty_home: Path) -> None:
    def thinkube(*words: str, code: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "thinkube", *words, "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "THINKUBE_HOME": str(empty_home)},
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def told(*words: str, code: int = 0) -> Any:
        return json.loads(thinkube(*words, code=code))

    begun = told("submit", str(study), "--object", "train", "-p", "steps=3", "--gpus", "0", "--wait")
    assert begun["status"] == "finished"
    assert told("jobs", "list") == [begun]
    assert told("jobs", "show", "train-1")["result"] == begun["result"]
    assert '{\n  "line": "begins at 0 for x"\n}' in thinkube("jobs", "logs", "train-1")
    assert told("jobs", "stop", "train-1")["status"] == "finished"
    assert told("jobs", "resume", "train-1", code=1)["error"]["type"] == "UsageError"
    assert told("jobs", "show", "train-9", code=1)["error"]["type"] == "JobNotFound"
    assert (
        told("submit", str(study), "--object", "train", "-p", "steps", code=1)["error"]["type"]
        == "UsageError"
    )
