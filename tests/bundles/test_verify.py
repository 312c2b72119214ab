"""Verification: the entry object in an environment of its own, and what fails at the notebook's line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from thinkube.bundles import verify as verification
from thinkube.bundles.package import package
from thinkube.bundles.verify import clean_environment
from thinkube.errors import UsageError, VerificationFailed
from thinkube.model.bundle import Bundle, Manifest
from thinkube.model.capture import Capture, CapturedFile

Make = Callable[..., Capture]


def refusal_of(capture: Capture, **given: object) -> VerificationFailed:
    with pytest.raises(VerificationFailed) as refusal:
        package(capture, **given)  # type: ignore[arg-type]
    return refusal.value


def test_a_graph_is_found_to_be_one(make: Make) -> None:
    bundle = package(make(), kind="langgraph")
    assert bundle.verified
    assert isinstance(bundle, Bundle)


def test_another_kind_than_the_live_one_is_refused(make: Make) -> None:
    source = "def agent(question: str) -> str:\n    return question\n"
    assert package(make(source), kind="function").verified
    refusal = refusal_of(make(source), kind="langgraph")
    assert "a langgraph here and a function" in refusal.cause


def test_an_exception_at_import_is_shown_at_its_cell(make: Make) -> None:
    source = "def load():\n    return {}['index']\n\n\nagent = load()\n"
    refusal = refusal_of(make(source))
    assert "KeyError: 'index'" in refusal.cause
    assert "cell 4, line 5: agent = load()" in refusal.cause
    assert "cell 4, line 2: return {}['index']" in refusal.cause


def test_the_way_out_fits_where_the_code_came_from(make: Make) -> None:
    assert "Restart the kernel" in refusal_of(make("agent = 1 / 0\n")).fix
    assert "python tools.py" in refusal_of(make("agent = 1 / 0\n", notebook="tools.py")).fix


def test_an_exception_in_a_shipped_module_names_the_file(make: Make) -> None:
    helper = CapturedFile("tools/helper.py", b"x = 1\n1 / 0\n", "agent.py imports it")
    refusal = refusal_of(make("import tools.helper\nagent = print\n", imports=(), files=(helper,)))
    assert "tools/helper.py, line 2" in refusal.cause
    assert "cell 4, line 1: import tools.helper" in refusal.cause


def test_a_secret_that_is_not_set_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'import os\n\nkey = os.environ["SUPPORT_TOKEN"]\n\n\ndef agent(q: str) -> str:\n    return q\n'
    capture = make(source, secrets=("SUPPORT_TOKEN",))
    monkeypatch.delenv("SUPPORT_TOKEN", raising=False)
    refusal = refusal_of(capture)
    assert "cell 4, line 3" in refusal.cause
    assert "SUPPORT_TOKEN" in refusal.fix
    monkeypatch.setenv("SUPPORT_TOKEN", "s3cr3t-value")
    bundle = package(capture)
    assert bundle.verified
    written = b"".join(file.read_bytes() for file in bundle.path.rglob("*") if file.is_file())
    assert b"s3cr3t-value" not in written


def test_a_module_that_is_only_loaded_by_name_is_advised(make: Make) -> None:
    source = 'import importlib\n\nname = "nb" + "client"\nagent = importlib.import_module(name).execute\n'
    refusal = refusal_of(make(source))
    assert "No module named 'nbclient'" in refusal.cause
    assert "%pip install nbclient" in refusal.fix


def test_what_is_installed_here_and_not_locked_is_not_seen(make: Make) -> None:
    """The environment is clean: pytest, with which this runs, is not in it."""
    source = "def agent(q: str) -> bool:\n    return True\n\n\n__import__('py' + 'test')\n"
    assert "No module named 'pytest'" in refusal_of(make(source)).cause


def test_a_process_that_ends_is_told_from_one_that_answers(make: Make) -> None:
    refusal = refusal_of(make("import os\n\nprint('almost', flush=True)\nos._exit(7)\n"))
    assert "code 7" in refusal.cause


def test_an_import_that_takes_too_long_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = verification.verify

    def short(*arguments: object, **given: object) -> str:
        return limited(*arguments, **given, limit=1.5)  # type: ignore[arg-type]

    monkeypatch.setattr("thinkube.bundles.package.verify_import", short)
    refusal = refusal_of(make("import time\n\nprint('loading', flush=True)\ntime.sleep(60)\nagent = print\n"))
    assert "not imported within" in refusal.cause
    assert "loading" in refusal.fix


def test_files_that_ship_are_found_by_relative_path(make: Make) -> None:
    data = CapturedFile("data/words.txt", b"good day\n", "read by a kept statement")
    source = 'words = open("data/words.txt").read()\n\n\ndef agent(q: str) -> str:\n    return words\n'
    assert package(make(source, files=(data,))).verified


def test_what_an_agent_writes_at_import_is_not_kept(make: Make) -> None:
    source = 'open("scratch.db", "w").write("x")\n\n\ndef agent(q: str) -> str:\n    return q\n'
    bundle = package(make(source))
    assert not (bundle.path / "scratch.db").exists()
    assert not list(bundle.path.rglob("__pycache__"))


def test_the_process_gets_what_the_manifest_names_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_API_KEY", "key-of-a-service-it-uses")
    monkeypatch.setenv("QDRANT_API_KEY", "key-of-a-service-it-does-not-use")
    monkeypatch.setenv("TOKEN", "a secret it reads")
    monkeypatch.setenv("OTHER_TOKEN", "a secret it does not read")
    manifest = Manifest(
        "a", "a:b", "Agent", "t", "3.12", services=("llm",), secrets=("TOKEN",), environment={"MODE": "fast"}
    )
    given = clean_environment(manifest)
    assert given["LITELLM_API_KEY"] == "key-of-a-service-it-uses"
    assert given["TOKEN"] == "a secret it reads"
    assert given["MODE"] == "fast"
    with pytest.raises(UsageError, match="llmm"):
        clean_environment(Manifest("a", "a:b", "Agent", "t", "3.12", services=("llmm",)))
    assert not {"QDRANT_API_KEY", "OTHER_TOKEN", "PYTHONPATH", "VIRTUAL_ENV"} & set(given)
