"""From capture to bundle: the same input gives the same bytes, and nobody's work is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thinkube.bundles.lock import lock
from thinkube.bundles.package import package
from thinkube.bundles.render import default_name, template_folder
from thinkube.bundles.report import Report
from thinkube.bundles.store import Store
from thinkube.errors import BundleError, ConfigurationError, SecretInSource, UsageError
from thinkube.model import manifest as manifests
from thinkube.model.capture import Capture, CapturedFile, Decision, Origin

Make = Callable[..., Capture]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_capture_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    first = package(make(), out=tmp_path / "one", verify=False)
    second = package(make(), out=tmp_path / "two", verify=False)
    kept = package(make(), verify=False)
    assert first.digest == second.digest == kept.digest
    assert contents(first.path) == contents(second.path) == contents(kept.path)
    assert kept.path == Store().get(kept.digest)
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=first.path, capture_output=True
    )
    assert check.returncode == 0


def test_any_change_of_the_input_changes_the_digest(make: Make) -> None:
    def digest(capture: Capture, **given: object) -> str:
        return package(capture, verify=False, **given).digest  # type: ignore[arg-type]

    data = CapturedFile("a.txt", b"1", "read")
    digests = [
        digest(make()),
        digest(make(make().source + "# comment\n")),
        digest(make(secrets=("TOKEN",))),
        digest(make(files=(data,))),
        digest(make(), environment={"MODE": "fast"}),
        digest(make(), lineage={"run": "123"}),
        digest(make(), name="other"),
    ]
    assert len(set(digests)) == len(digests)


def test_a_bundle_is_a_project(make: Make, tmp_path: Path) -> None:
    capture = make(
        services=("llm",),
        secrets=("SUPPORT_TOKEN",),
        files=(CapturedFile("tools/words.py", b"x = 1\n", "imported"),),
    )
    bundle = package(capture, out=tmp_path / "out", verify=False, lineage={"run": "abc"})
    manifest = manifests.read(bundle.path)
    assert manifest == bundle.manifest
    assert manifest.name == "support"
    assert manifest.entrypoint == "agent:agent"
    assert manifest.lineage == {"notebook": "support.ipynb", "run": "abc"}
    assert (bundle.path / "agent.py").read_text() == capture.source
    assert (bundle.path / "tools" / "words.py").read_text() == "x = 1\n"
    readme = (bundle.path / "README.md").read_text()
    assert "support.ipynb" in readme
    assert "`SUPPORT_TOKEN`" in readme
    assert "`LITELLM_ENDPOINT`" in readme
    assert "USER 65532" in (bundle.path / "Dockerfile").read_text()
    assert (bundle.path / "requirements.txt").read_text() == bundle.lock.requirements()


def test_the_entry_object_imports_with_the_folder_first(make: Make, tmp_path: Path) -> None:
    bundle = package(make(), out=tmp_path / "out", verify=False)
    code = "import sys; sys.path.insert(0, sys.argv[1]); from agent import agent; print(type(agent).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle.path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.strip() == "CompiledStateGraph"


def test_the_projects_own_test_runs_without_a_service(make: Make, tmp_path: Path) -> None:
    source = "import thinkube as tk\n\nmodel = tk.llm()\n\n\ndef agent(q: str) -> str:\n    return q\n"
    bundle = package(make(source, services=("llm",)), out=tmp_path / "out", verify=False)
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "tests"],
        cwd=bundle.path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
    (bundle.path / "agent.py").write_text("agent = 42\n")
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "discover", "tests"], cwd=bundle.path, capture_output=True
    )
    assert done.returncode == 1, "the test can fail"


def test_an_earlier_bundle_is_replaced(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = CapturedFile("old.txt", b"1", "read")
    package(make(files=(data,)), out=out, verify=False)
    (out / ".git").mkdir()
    bundle = package(make(), out=out, verify=False)
    assert not (out / "old.txt").exists()
    assert (out / ".git").is_dir()
    assert Store().add(out, bundle.digest)


def test_work_in_a_folder_is_not_overwritten(make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    package(make(), out=out, verify=False)
    (out / "agent.py").write_text("# an hour of work\n")
    with pytest.raises(UsageError, match=r"agent\.py was changed"):
        package(make(), out=out, verify=False)
    assert (out / "agent.py").read_text() == "# an hour of work\n"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="holds no bundle"):
        package(make(), out=tmp_path / "thesis", verify=False)
    with pytest.raises(UsageError, match="is a file"):
        package(make(), out=tmp_path / "thesis" / "thesis.tex", verify=False)


def test_a_failed_check_writes_nothing(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        package(make("import nothing_like_it\nagent = 1\n"), out=tmp_path / "out")
    with pytest.raises(BundleError):
        package(make("agent = 1 / 0\n"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert Store().digests() == []


@pytest.mark.parametrize(
    "path", ["thinkube.yaml", "requirements.txt", "agent.py", "../escape.txt", "SHA256SUMS"]
)
def test_a_file_can_not_take_the_place_of_the_projects_own(make: Make, path: str) -> None:
    with pytest.raises(BundleError, match="no place"):
        package(make(files=(CapturedFile(path, b"", "it is read"),)), verify=False)


def test_a_data_file_may_be_called_readme(make: Make) -> None:
    bundle = package(make(files=(CapturedFile("README.md", b"# Data", "it is read"),)), verify=False)
    assert (bundle.path / "README.md").read_bytes() == b"# Data"


@pytest.mark.parametrize(
    ("notebook", "name"),
    [
        ("Support Desk (v2).ipynb", "support-desk-v2"),
        ("naïve_agent.py", "naive-agent"),
        ("日本.ipynb", "agent"),
        ("a" * 80 + ".ipynb", "a" * 53),
        (None, "agent"),
    ],
)
def test_a_deployment_is_named_after_its_notebook(make: Make, notebook: str | None, name: str) -> None:
    capture = make(notebook=notebook)
    assert default_name(capture) == name
    assert package(capture, verify=False).manifest.name == name


def test_an_impossible_name_is_refused(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="lower-case letters"):
        package(make(), name="Support Desk", verify=False)


def test_a_credential_is_no_setting(make: Make) -> None:
    with pytest.raises(SecretInSource, match="SUPPORT_API_KEY") as refusal:
        package(make(), environment={"SUPPORT_API_KEY": "sk-live-9f8a7d6c5b4e3f2a1b0c"}, verify=False)
    assert "9f8a7d" not in str(refusal.value)
    with pytest.raises(SecretInSource, match="STORE"):
        package(make(), environment={"STORE": "postgres://ada:l0velace77x@db.example/agents"}, verify=False)
    plain = {"LOG_LEVEL": "debug", "MAX_TOKENS": "400", "BASE": "http://127.0.0.1:8080", "API_KEY": "EMPTY"}
    assert package(make(), environment=plain, verify=False).manifest.environment == plain


def test_a_place_that_can_not_be_written_is_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't be written"):
        package(make(), out=tmp_path / "file" / "out", verify=False)


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(UsageError, match="no template") as refusal:
        template_folder("tkt-langchian-agent")
    assert "tkt-langchain-agent" in refusal.value.fix


def test_progress_says_what_is_done(make: Make) -> None:
    said: list[str] = []
    package(make(), progress=said.append)
    assert said[0] == "reading what is installed"
    assert said[-1] == "importing agent:agent in a clean environment"


def test_the_report_says_what_was_kept_and_why(make: Make) -> None:
    report = (
        Decision(Origin("cell 1", 1), "x = [red]<b>", "dropped", "nothing needs `x`"),
        Decision(Origin("cell 4", 2), "agent = 1", "kept", "it is the object"),
    )
    bundle = package(make(report=report), verify=False)
    text = str(bundle.report)
    assert "cell 1, line 1" in text
    assert "x = [red]<b>" in text
    assert "agent: 1 kept, 1 dropped" in text
    assert "&lt;b&gt;" in bundle._repr_html_()
    assert Report(bundle.capture).to_dict()["decisions"][1] == {
        "cell": "cell 4",
        "line": 2,
        "text": "agent = 1",
        "verdict": "kept",
        "reason": "it is the object",
    }


def test_notes_of_the_lock_reach_the_next_owner(make: Make) -> None:
    capture = make(requirements=("tqdm<0.1",))
    assert lock(capture).notes
    bundle = package(capture, verify=False)
    assert "tqdm<0.1" in (bundle.path / "README.md").read_text()


def test_another_process_in_another_place_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither the order of sets, the folder, the umask, the time zone nor the language shows."""
    script = """
import os, sys
from thinkube.bundles.package import package
from thinkube.model.capture import Capture, CapturedFile

os.umask(int(sys.argv[1]))
source = "import thinkube as tk\\nimport langgraph.graph\\nagent = print\\n"
files = tuple(CapturedFile(name, b"1", "read") for name in ("z.txt", "a.txt"))
capture = Capture(
    "agent", "agent", source, (None,) * 3, ("langgraph", "thinkube"), ("tqdm<1", "httpx"), ("qdrant", "llm"),
    ("B", "A"), files,
)
print(package(capture, verify=False).digest)
"""
    found = set()
    for seed, mask, zone in (("1", "18", "UTC"), ("2", "63", "Asia/Tokyo")):
        place = tmp_path / seed
        place.mkdir()
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "THINKUBE_HOME": str(place / "home"),
            "THINKUBE_CACHE": str(place / "cache"),
            "LANG": "C" if seed == "1" else "de_DE.UTF-8",
        }
        done = subprocess.run(
            [sys.executable, "-c", script, mask], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
