"""The lock: what the code needs, at the version that is installed, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from io import BytesIO
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from thinkube.bundles.installed import Site
from thinkube.bundles.lock import lock
from thinkube.bundles.wheels import uv
from thinkube.errors import BundleError, DistributionMissing
from thinkube.model.capture import Capture, CapturedFile
from thinkube.model.lock import Lock, Wheel

Make = Callable[..., Capture]


def names(locked: Lock) -> set[str]:
    return {pin.name for pin in locked.pins}


def wheel_of(locked: Lock, name: str) -> Wheel:
    [pin] = [pin for pin in locked.pins if pin.name == name]
    assert pin.wheel is not None
    return pin.wheel


def wheel(locked: Lock, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(BytesIO(wheel_of(locked, name).content))


def test_pins_are_the_installed_versions(make: Make) -> None:
    locked = lock(make())
    assert {"langgraph", "langchain-core", "pydantic", "starlette", "uvicorn", "thinkube-sdk"} <= names(
        locked
    )
    assert all(pin.version == metadata.version(pin.name) for pin in locked.pins)
    assert [pin.name for pin in locked.pins] == sorted(names(locked))
    assert not names(locked) & {"crewai", "mlflow", "jupyterlab", "pytest"}
    assert not names(locked) & {"uv", "nbformat", "typer"}, "packaging stays behind"


def test_lock_is_closed_over_what_is_installed(make: Make) -> None:
    """Nothing that a pinned distribution requires here is missing, by the standard library's own reading."""
    locked = names(lock(make()))
    for name in locked - {"thinkube-sdk"}:
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in locked, f"{name} needs {line}"


def test_the_same_capture_gives_the_same_lock_from_cache_and_without(make: Make, cache: Path) -> None:
    first = lock(make())
    assert lock(make()) == first
    for kept in (cache / "locks").iterdir():
        kept.unlink()
    again = lock(make())
    assert again == first
    assert again.digest == first.digest


def test_distributions_that_share_a_namespace_are_told_apart(make: Make) -> None:
    protobuf = names(lock(make("from google.protobuf import message\nagent = message.Message\n")))
    assert "protobuf" in protobuf
    assert "google-auth" not in protobuf
    assert "google-auth" in names(lock(make("import google.auth.credentials\nagent = print\n")))
    owners = Site().owners(
        [
            "langgraph.graph.StateGraph",
            "langgraph.prebuilt.ToolNode",
            "langgraph.checkpoint.memory",
            "langgraph",
        ]
    )
    assert owners["langgraph.graph.StateGraph"] == ["langgraph"]
    assert owners["langgraph.prebuilt.ToolNode"] == ["langgraph", "langgraph-prebuilt"]
    assert owners["langgraph.checkpoint.memory"] == ["langgraph", "langgraph-checkpoint"]
    assert owners["langgraph"] == ["langgraph"]


def test_owners_agree_with_the_standard_library() -> None:
    """`packages_distributions` reads every RECORD; ours searches them for the names asked for."""
    expected = {
        top: {canonicalize_name(owner) for owner in owners}
        for top, owners in metadata.packages_distributions().items()
        if re.fullmatch(r"[A-Za-z]\w*", top) and len(set(owners)) == 1
    }
    assert len(expected) > 100
    found = Site().owners(expected)
    assert {top: set(owners) for top, owners in found.items()} == expected


def test_clients_bring_their_libraries(make: Make) -> None:
    plain = names(lock(make()))
    assert "qdrant-client" not in plain
    source = "import thinkube as tk\nstore = tk.qdrant()\nmodel = tk.openai()\nagent = print\n"
    locked = names(lock(make(source, services=("llm", "qdrant"))))
    assert {"qdrant-client", "openai"} <= locked
    assert "langchain-openai" not in locked
    assert "langchain-openai" in names(lock(make("agent = print\n", services=("llm",))))


def test_a_model_named_in_a_call_brings_its_integration(make: Make) -> None:
    source = 'from langchain.chat_models import init_chat_model\nagent = init_chat_model("openai:gpt-5")\n'
    assert "langchain-openai" in names(lock(make(source)))
    source = 'from langchain.chat_models import init_chat_model\nagent = init_chat_model("groq:x")\n'
    with pytest.raises(DistributionMissing) as refusal:
        lock(make(source))
    assert "cell 4, line 2" in refusal.value.cause
    assert "langchain-groq" in refusal.value.fix


def test_an_integration_brings_what_it_integrates_with(make: Make) -> None:
    """Langfuse leaves it to its user to install LangChain, and its own metadata does not name it."""
    assert "langchain" not in names(lock(make("import langfuse\nagent = langfuse.observe\n")))
    source = "from langfuse.langchain import CallbackHandler\nagent = CallbackHandler\n"
    assert "langchain" in names(lock(make(source)))


def test_an_import_nothing_provides_is_refused_at_its_line(make: Make) -> None:
    with pytest.raises(DistributionMissing) as refusal:
        lock(make("import json\n\nimport cv2.aruco\nagent = cv2\n"))
    assert "cell 4, line 3" in refusal.value.cause
    assert "opencv-python" in refusal.value.fix


def test_a_missing_import_of_a_shipped_module_names_the_file(make: Make) -> None:
    helper = CapturedFile("helper.py", b"import not_there_at_all\n", "agent.py imports it")
    with pytest.raises(DistributionMissing, match=r"helper\.py"):
        lock(make("import helper\nagent = helper\n", imports=("not_there_at_all",), files=(helper,)))


def test_an_import_whose_absence_is_handled_is_left_out(make: Make) -> None:
    source = "try:\n    import cupy\nexcept ImportError:\n    cupy = None\nagent = print\n"
    locked = lock(make(source))
    assert any("cupy" in note for note in locked.notes)


def test_a_module_that_no_distribution_owns_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loose_module.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DistributionMissing, match="no installed distribution owns") as refusal:
        lock(make("import loose_module\nagent = loose_module\n"))
    assert str(tmp_path / "loose_module.py") in refusal.value.cause


def test_what_the_notebook_installs_is_locked_as_it_is_installed(make: Make) -> None:
    locked = lock(make(requirements=("tqdm<0.1", "no-such-thing-installed", "./local", "httpx[http2]")))
    assert {"tqdm", "httpx"} <= names(locked)
    notes = "\n".join(locked.notes)
    assert "tqdm<0.1" in notes
    assert "no-such-thing-installed" in notes
    assert "./local" in notes


@pytest.mark.usefixtures("cache")
def test_an_editable_install_is_carried_as_a_wheel(
    make: Make, project: Path, install: Callable[..., Path]
) -> None:
    install("--editable", str(project))
    capture = make("import ada_tools\nagent = ada_tools.greet\n")
    first = lock(capture)
    carried = wheel(first, "ada-tools")
    assert carried.read("ada_tools/words.txt") == b"hello\n"
    assert "./wheels/ada_tools-1.2-py3-none-any.whl\n" in first.requirements()

    (project / "src" / "ada_tools" / "words.txt").write_text("good day\n")
    second = lock(capture)
    assert wheel(second, "ada-tools").read("ada_tools/words.txt") == b"good day\n"
    assert second.digest != first.digest

    (project / "src" / "ada_tools" / "words.txt").write_text("hello\n")
    assert lock(capture).digest == first.digest, (
        "the same content gives the same wheel, whenever it was built"
    )


@pytest.mark.usefixtures("cache")
def test_an_editable_project_is_built_again_when_its_own_files_change(
    make: Make, project: Path, install: Callable[..., Path]
) -> None:
    install("--editable", str(project))
    capture = make("import ada_tools\nagent = ada_tools.greet\n")

    def builds() -> bool:
        said: list[str] = []
        lock(capture, progress=said.append)
        return any("ada-tools" in message for message in said)

    package = project / "src" / "ada_tools"
    assert builds()
    assert not builds()
    (project / "look.ipynb").write_text("{}")
    (project / "src" / "notes.csv").write_text("1\n")
    assert not builds(), "a notebook beside the package is no part of it"
    (project / "mlruns").mkdir()
    builds()
    (project / "mlruns" / "metrics").write_text("1\n")
    assert not builds(), "neither is the output of an experiment"
    for change in (
        lambda: (package / "more.py").write_text("x = 1\n"),
        lambda: (package / "__init__.py").write_text("def greet() -> str:\n    return 'Good night'\n"),
        lambda: (package / "words.txt").unlink(),
        lambda: (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text() + "\n"),
        lambda: (project / ".gitignore").write_text("*.tmp\n"),
    ):
        change()
        assert builds()
        assert not builds()


@pytest.mark.usefixtures("cache")
def test_a_project_that_generates_files_is_looked_at_as_a_whole(
    make: Make, project: Path, install: Callable[..., Path]
) -> None:
    hook = (
        "from hatchling.builders.hooks.plugin.interface import BuildHookInterface as B\n\n\nclass Hook(B):\n"
    )
    hook += "    def initialize(self, version, build_data):\n"
    hook += "        made = f'{self.root}/.made.py'\n        open(made, 'w').write('words = ' + "
    hook += "repr(open(f'{self.root}/data/words.csv').read()))\n"
    hook += "        build_data['force_include'][made] = 'ada_tools/made.py'\n"
    (project / "hatch_build.py").write_text(hook)
    (project / "data").mkdir()
    (project / "data" / "words.csv").write_text("a,b\n")
    with (project / "pyproject.toml").open("a") as settings:
        settings.write("[tool.hatch.build.targets.wheel.hooks.custom]\n")
    install("--editable", str(project))
    capture = make("import ada_tools\nagent = ada_tools.greet\n")
    assert wheel(lock(capture), "ada-tools").read("ada_tools/made.py") == b"words = 'a,b\\n'"
    (project / "data" / "words.csv").write_text("c\n")
    assert wheel(lock(capture), "ada-tools").read("ada_tools/made.py") == b"words = 'c\\n'"


def test_wheel_and_git_installs_are_carried_as_they_are_installed(
    make: Make, project: Path, install: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "built"
    subprocess.run([uv(), "build", "--wheel", "-o", str(out), str(project)], check=True, capture_output=True)
    target = install(str(next(out.glob("*.whl"))))
    capture = make("import ada_tools\nagent = ada_tools.greet\n")
    locked = lock(capture)
    carried = wheel(locked, "ada-tools")
    assert carried.testzip() is None
    assert "ada_tools-1.2.dist-info/entry_points.txt" in carried.namelist()
    assert not [
        name for name in carried.namelist() if name.endswith((".pyc", "direct_url.json", "INSTALLER"))
    ]
    assert str(tmp_path) not in str([pin.wheel and pin.wheel.reason for pin in locked.pins])

    (target / "ada_tools" / "__init__.py").write_text("def greet() -> str:\n    return 'patched'\n")
    patched = wheel(lock(capture), "ada-tools")
    assert b"patched" in patched.read("ada_tools/__init__.py"), "what runs here is what ships"

    (target / "ada_tools" / "words.txt").unlink()
    with pytest.raises(BundleError, match=r"words\.txt"):
        lock(capture)


def test_a_git_install_says_where_it_came_from(
    make: Make, project: Path, install: Callable[..., Path]
) -> None:
    git = ["git", "-c", "user.name=ada", "-c", "user.email=ada@example.org", "-C", str(project)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "begin"], check=True)
    install(f"git+file://{project}")
    locked = lock(make("import ada_tools\nagent = ada_tools.greet\n"))
    [reason] = [pin.wheel.reason for pin in locked.pins if pin.name == "ada-tools" and pin.wheel]
    assert reason.startswith("installed from git")


def test_a_carried_wheel_installs(make: Make, tmp_path: Path) -> None:
    """pip's own reading of the wheel we write: names, tags, RECORD and hashes."""
    [pin] = [pin for pin in lock(make()).pins if pin.name == "thinkube-sdk"]
    assert pin.wheel is not None
    path = tmp_path / pin.wheel.filename
    path.write_bytes(pin.wheel.content)
    command = [uv(), "pip", "install", "--offline", "--no-deps", "--target", str(tmp_path / "t"), str(path)]
    subprocess.run([*command, "--python", sys.executable], check=True, capture_output=True)
    assert (tmp_path / "t" / "thinkube" / "templates" / "tkt-langchain-agent" / "copier.yml").is_file()


def test_no_line_of_the_requirements_names_a_host(make: Make) -> None:
    text = lock(make()).requirements()
    assert "://" not in text
    assert "@" not in text


def test_a_module_loaded_by_its_name_in_a_call_counts(make: Make) -> None:
    source = 'import importlib\n\nagent = importlib.import_module("nbclient").execute\n'
    assert "nbclient" in names(lock(make(source)))
    local = CapturedFile("plugins/one.py", b"x = 1\n", "loaded")
    source = 'import importlib\n\nagent = importlib.import_module("plugins.one")\n'
    assert lock(make(source, files=(local,)))


def test_a_shipped_file_that_is_not_python_3_is_data(make: Make) -> None:
    old = CapturedFile("legacy.py", b"print 'hello'\n\x00", "read by a kept statement")
    assert lock(make(files=(old,)))
