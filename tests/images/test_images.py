"""Images built for real. An image passes its own test and those of every image it stands on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from builder import Builder

from thinkube.targets.kubernetes.image import PYTHON_LABEL

pytestmark = pytest.mark.timeout(1800)  # the first test also makes the Debian root

IMAGES = Path(__file__).parents[2] / "images"


def passes(builder: Builder, image: str, *tests: str) -> None:
    for test in tests:
        container = builder.container(image)
        mounts = ((IMAGES / test / "test.py", "/tests/test.py"),)
        command = builder.command(container, "python", "/tests/test.py", mounts=mounts)
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{test} in {image}:\n{done.stdout}\n{done.stderr}"
        assert f"{test}: ok" in done.stdout


def test_the_agent_runtime_has_nothing_to_build_with_and_no_privileges(
    builder: Builder, agent_runtime: str
) -> None:
    passes(builder, agent_runtime, "agent-runtime")
    dockerfile = (IMAGES / "agent-runtime" / "Dockerfile").read_text()
    (python,) = re.findall(rf"(?m)^LABEL {re.escape(PYTHON_LABEL)}=(\S+)$", dockerfile)
    container = builder.container(agent_runtime)
    told = subprocess.run(builder.command(container, python, "-V"), capture_output=True, text=True)
    assert told.stdout.startswith("Python 3."), told.stderr


def test_the_notebook_image_runs_a_server_and_a_kernel_with_thinkube(
    builder: Builder, jupyter_ml_cpu: str
) -> None:
    passes(builder, jupyter_ml_cpu, "jupyter-ml-cpu")


def test_the_agent_image_also_packages_an_agent(builder: Builder, jupyter_agent_dev: str) -> None:
    passes(builder, jupyter_agent_dev, "jupyter-ml-cpu", "jupyter-agent-dev")


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in IMAGES.glob("*/Dockerfile")), ids=lambda p: p.name
)
def test_each_image_is_pinned_documented_and_tested(folder: Path) -> None:
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    assert (folder / "test.py").is_file()
    bake = (IMAGES / "docker-bake.hcl").read_text()
    assert f'target "{folder.name}"' in bake
    assert f"images/{folder.name}/Dockerfile" in bake
    for requirements in folder.glob("requirements.txt"):
        loose = [
            line for line in requirements.read_text().splitlines() if not re.match(r"[\w.\[\]-]+==\S+", line)
        ]
        assert not loose, f"not pinned, or with an address: {loose}"
    dockerfile = (folder / "Dockerfile").read_text()
    assert re.findall(r"(?m)^USER (\S+)$", dockerfile)[-1] in ("1000:100", "65532:65532"), "ends as root"
