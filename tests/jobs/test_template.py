"""`tkt-fine-tuning-job` from Copier's questions alone: both kinds begin, and their workflow is Argo's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import copier
import pytest
import yaml
from hera.workflows import models

from thinkube.bundles.render import JOB, template_folder
from thinkube.model.recipe import read
from thinkube.targets.argo.workflow import Artifacts, TrainingWorkflow


def made(folder: Path, **answers: str) -> Path:
    copier.run_copy(str(template_folder(JOB)), folder, data=answers, defaults=True, quiet=True)
    return folder


@pytest.mark.parametrize("work", ["recipe", "function"])
def test_copier_makes_a_project_whose_tests_pass(tmp_path: Path, work: str) -> None:
    project = made(tmp_path / "my-job", name="my-job", work=work)
    assert (project / "recipe.yaml").exists() == (work == "recipe")
    assert (project / "my_job.py").exists() == (work == "function")
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "tests"], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr
    lint = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I", "--line-length", "120"]
    subprocess.run([*lint, "."], cwd=project, check=True)
    if work == "recipe":
        assert read(project / "recipe.yaml").name == "my-job"
    shown = subprocess.run(
        [sys.executable, "workflow.py"], cwd=project, check=True, capture_output=True, text=True
    ).stdout
    template = models.WorkflowTemplate.model_validate(yaml.safe_load(shown))
    assert template.metadata.name == "my-job"


def test_a_name_that_can_not_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Validation error"):
        made(tmp_path / "out", name="My Job")


def test_the_workflow_says_where_to_run_what_to_keep_and_how_to_end() -> None:
    chosen = TrainingWorkflow(
        "tuned-1",
        "registry/tuned:1",
        "jobs",
        gpus=2,
        node_selector={"nvidia.com/gpu.product": "H100"},
        artifacts=Artifacts("s3:9000", "models", "s3"),
        deploy=("thinkube", "deploy", "it"),
        keep=60,
        pod={"priorityClassName": "low"},
    )
    found = chosen.workflow().to_dict()
    spec = models.Workflow.model_validate(found).spec
    stages = {each.name: each for each in spec.templates or ()}
    order = [(task.name, task.dependencies) for task in stages["job"].dag.tasks]  # type: ignore[union-attr]
    assert order == [
        ("prepare", None),
        ("train", ["prepare"]),
        ("evaluate", ["train"]),
        ("register", ["evaluate"]),
        ("deploy", ["register"]),
    ]
    limits = {name: each.container.resources.limits for name, each in stages.items() if each.container}  # type: ignore[union-attr]
    asking = {name for name, each in limits.items() if "nvidia.com/gpu" in each}
    assert asking == {"train", "evaluate"}
    assert stages["train"].node_selector == {"nvidia.com/gpu.product": "H100"}
    assert stages["prepare"].node_selector is None
    assert spec.on_exit == "ended"
    assert spec.ttl_strategy.seconds_after_completion == 60  # type: ignore[union-attr]
    assert '"priorityClassName": "low"' in str(spec.pod_spec_patch)
    artifact = stages["register"].outputs.artifacts[0]  # type: ignore[union-attr,index]
    assert (artifact.s3.bucket, artifact.path) == ("models", "/work/run/model")  # type: ignore[union-attr]
