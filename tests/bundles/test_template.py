"""`tkt-langchain-agent` is also a Copier template: what it makes from its questions alone works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import copier
import pytest

from thinkube.bundles.render import AGENT, template_folder
from thinkube.model import manifest as manifests


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my-agent"
    copier.run_copy(str(template_folder(AGENT)), folder, data={"name": "my-agent"}, defaults=True, quiet=True)
    return folder


def test_copier_makes_a_project_whose_test_passes(project: Path) -> None:
    manifest = manifests.read(project)
    assert manifest.name == "my-agent"
    assert manifest.entrypoint == "my_agent:agent"
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "tests"], cwd=project, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_the_project_is_good_python(project: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--isolated",
            "--select",
            "E,F,I",
            "--line-length",
            "110",
            ".",
        ],
        cwd=project,
        check=True,
    )


def test_names_that_can_not_be_are_refused(tmp_path: Path) -> None:
    for wrong in ({"name": "My Agent"}, {"module": "my-agent"}, {"object": "1st"}):
        with pytest.raises(ValueError, match="Validation error"):
            copier.run_copy(
                str(template_folder(AGENT)), tmp_path / "out", data=wrong, defaults=True, quiet=True
            )
    assert not (tmp_path / "out").exists()
