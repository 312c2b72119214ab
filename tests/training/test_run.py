"""What becomes of a run when memory gets short, or the loss stops being a number."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.training.questions import ROWS

from thinkube.model.recipe import Recipe, recipe
from thinkube.training.state import metrics, read


@pytest.fixture
def plan(tmp_path: Path, tiny: Path) -> Recipe:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    data = str(tmp_path / "rows.jsonl")
    return recipe(
        name="router", base=str(tiny), data=data, steps=6, batch=4, quantization="none", evaluation_rows=0
    )


def train(
    plan: Recipe, folder: Path, python: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    (folder / "recipe.yaml").write_text(plan.to_yaml())
    argv = [python, "-m", "thinkube.training", str(folder / "recipe.yaml"), "--work", str(folder / "work")]
    return subprocess.run(
        argv, env={**variables, "THINKUBE_HOME": str(folder)}, capture_output=True, text=True, check=False
    )


def test_goes_on_with_half_the_rows_at_once_when_memory_is_short(
    wide: Path, python: Path, training_variables: Mapping[str, str], tmp_path: Path
) -> None:
    script = Path(__file__).with_name("squeezed.py")

    ran = subprocess.run(
        [python, script, wide, tmp_path], env=training_variables, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    found = next(json.loads(line[7:]) for line in ran.stdout.splitlines() if line.startswith("RESULT "))
    said = [line for line in ran.stdout.splitlines() if "out of memory" in line]
    assert len(said) == 1
    assert "at step 3 with 8 rows at once; going on with 4 at once, 2 times a step" in said[0]
    assert found["squeezed"] == pytest.approx(found["free"], abs=1e-3)


def test_stops_at_the_step_where_the_loss_is_no_number(
    plan: Recipe, python: Path, training_variables: Mapping[str, str], tmp_path: Path
) -> None:
    wild = plan.model_copy(update={"learning_rate": 1e30, "warmup": 0, "checkpoint_every": 1})

    ran = train(wild, tmp_path, python, training_variables)

    state = read(tmp_path / "work")
    steps = [int(entry["step"]) for entry in metrics(tmp_path / "work")]
    assert ran.returncode == 1
    assert state.phase == "failed"
    assert state.error is not None
    assert state.error["type"] == "TrainingDiverged"
    assert f"at step {steps[-1] + 1} " in state.error["cause"]
    assert f"step {steps[-1]} is the last checkpoint" in state.error["cause"]
    assert "Lower learning_rate" in ran.stderr


def test_reports_rows_that_are_cut(
    plan: Recipe, python: Path, training_variables: Mapping[str, str], tmp_path: Path
) -> None:
    rows = [*ROWS, {"prompt": "short", "completion": "long " * 200}]
    Path(plan.data).write_text("\n".join(map(json.dumps, rows)))
    small = plan.model_copy(update={"max_length": 128, "steps": 1})

    ran = train(small, tmp_path, python, training_variables)

    assert ran.returncode == 0, ran.stderr
    assert "1 longer than max_length 128 are cut" in ran.stdout
    assert "no MLflow is known, so it is not registered" in ran.stdout
    assert (tmp_path / "work" / "model" / "adapter_model.safetensors").is_file()
