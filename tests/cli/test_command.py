"""The `thinkube` command as a person in a shell meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

VERBS = (
    "up",
    "down",
    "status",
    "package",
    "deploy",
    "list",
    "show",
    "logs",
    "ask",
    "history",
    "rollback",
    "delete",
)


def thinkube(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell would, away from any real home."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "THINKUBE_HOME": str(home / "thinkube"),
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "thinkube", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example_and_speaks_json(verb: str, tmp_path: Path):
    result = thinkube(verb, "--help", home=tmp_path)
    assert result.returncode == 0
    assert f"Example: thinkube {verb}" in result.stdout
    assert "--json" in result.stdout


def test_help_lists_every_verb(tmp_path: Path):
    listed = thinkube("--help", home=tmp_path).stdout
    assert all(f"\n  {verb} " in listed for verb in VERBS)


def test_a_misspelled_verb_is_a_wrong_call_and_names_the_nearest(tmp_path: Path):
    result = thinkube("deplo", home=tmp_path)
    assert result.returncode == 2
    assert "deploy" in result.stderr


def test_a_name_outside_a_notebook_says_how_to_name_a_file(tmp_path: Path):
    result = thinkube("deploy", "agent", home=tmp_path)
    assert result.returncode == 1
    assert "neither a notebook (.ipynb) nor a module (.py)" in result.stderr
    assert "thinkube deploy notebook.ipynb --object agent" in result.stderr


def test_a_file_without_an_object_says_which_option_is_missing(tmp_path: Path):
    result = thinkube("package", "notebook.ipynb", "--out", str(tmp_path / "out"), home=tmp_path)
    assert result.returncode == 1
    assert "--object" in result.stderr


def test_a_missing_notebook_is_refused_without_a_traceback(tmp_path: Path):
    result = thinkube("deploy", str(tmp_path / "none.ipynb"), "--object", "agent", home=tmp_path)
    assert result.returncode == 1
    assert "none.ipynb" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_error_as_json_has_type_cause_and_fix(tmp_path: Path):
    result = thinkube("deploy", str(tmp_path / "none.ipynb"), "--object", "agent", "--json", home=tmp_path)
    assert result.returncode == 1
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "UsageError"
    assert "none.ipynb" in error["cause"]
    assert error["fix"]


@pytest.mark.parametrize("pair", ["MODE", "=fast"])
def test_a_setting_that_is_none_is_refused(pair: str, tmp_path: Path):
    result = thinkube("deploy", "notebook.ipynb", "--object", "agent", "--env", pair, home=tmp_path)
    assert result.returncode == 1
    assert "KEY=VALUE" in result.stderr


def test_a_home_that_can_not_be_written_is_named(tmp_path: Path):
    result = thinkube("up", "--only", "nats", home=tmp_path, THINKUBE_HOME="/proc/nope")
    assert result.returncode == 1
    assert "THINKUBE_HOME (/proc/nope)" in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_deployed_is_said_with_the_way_to_begin(tmp_path: Path):
    result = thinkube("list", home=tmp_path)
    assert result.returncode == 0
    assert "thinkube deploy" in result.stdout
    assert json.loads(thinkube("list", "--json", home=tmp_path).stdout) == []


@pytest.mark.parametrize("verb", ["show", "logs", "history", "rollback", "delete"])
def test_a_deployment_that_does_not_exist_is_named(verb: str, tmp_path: Path):
    result = thinkube(verb, "no-such-agent", home=tmp_path)
    assert result.returncode == 1
    assert "no-such-agent" in result.stderr
    assert "Traceback" not in result.stderr
