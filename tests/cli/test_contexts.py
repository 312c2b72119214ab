"""`thinkube context` as a person in a shell meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / ".config" / "thinkube"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[contexts.team.services]\nnats = { url = "nats://queue:4222" }\n')
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "THINKUBE_HOME": str(tmp_path / "thinkube")}


def thinkube(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thinkube", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_list_and_use(environment: dict[str, str]):
    assert "→  local" in thinkube(environment, "context", "list").stdout
    assert "context team now" in thinkube(environment, "context", "use", "team").stdout
    listed = json.loads(thinkube(environment, "context", "list", "--json").stdout)
    assert {each["name"]: each["current"] for each in listed} == {
        "local": False,
        "in-cluster": False,
        "team": True,
    }
    assert listed[-1]["services"] == {"nats": "nats://queue:4222"}
    other = thinkube({**environment, "THINKUBE_CONTEXT": "local"}, "context", "use", "team")
    assert "THINKUBE_CONTEXT wins" in other.stdout


def test_an_unknown_context_is_refused_with_a_suggestion(environment: dict[str, str]):
    refused = thinkube(environment, "context", "use", "teem")
    assert refused.returncode == 1
    assert "Did you mean 'team'?" in refused.stderr


def test_a_malformed_file_is_refused_without_a_traceback(environment: dict[str, str]):
    path = Path(environment["HOME"], ".config", "thinkube", "config.toml")
    path.write_text("[contexts.team.services.nats]\nulr = 'nats://queue:4222'\n")
    refused = thinkube(environment, "context", "list", "--json")
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert f"{path}, line 2: unknown key 'ulr'" in error["cause"]
    assert "Did you mean 'url'?" in error["fix"]


@pytest.mark.parametrize("verb", ["list", "use"])
def test_every_verb_explains_itself(environment: dict[str, str], verb: str):
    told = thinkube(environment, "context", verb, "--help").stdout
    assert f"Example: thinkube context {verb}" in told
    assert "--json" in told
