"""`thinkube secret` as a person in a shell meets it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "THINKUBE_HOME": str(tmp_path / "thinkube")}


def thinkube(
    environment: dict[str, str], *arguments: str, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thinkube", *arguments]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def test_set_read_list_delete(environment: dict[str, str]):
    told = thinkube(environment, "secret", "set", "SEARCH_KEY", typed="tvly-0123456789\n")
    assert told.returncode == 0, told.stderr
    code = 'import thinkube as tk; print(len(tk.secret("SEARCH_KEY")))'
    read = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert int(read.stdout) == len("tvly-0123456789")
    listed = thinkube(environment, "secret", "list")
    assert "SEARCH_KEY" in listed.stdout
    as_json = thinkube(environment, "secret", "list", "--json")
    assert [each["name"] for each in json.loads(as_json.stdout)] == ["SEARCH_KEY"]
    gone = thinkube(environment, "secret", "delete", "SEARCH_KEY", "--json")
    assert json.loads(gone.stdout) == {"deleted": "SEARCH_KEY"}
    assert "tvly" not in "".join(each.stdout + each.stderr for each in (told, listed, as_json, gone))
    assert thinkube(environment, "secret", "delete", "SEARCH_KEY").returncode == 1
    assert "thinkube secret set" in thinkube(environment, "secret", "list").stdout


def test_a_terminal_does_not_show_what_is_typed(environment: dict[str, str]):
    child, terminal = pty.fork()
    if child == 0:
        os.execve(
            sys.executable, [sys.executable, "-m", "thinkube", "secret", "set", "SEARCH_KEY"], environment
        )
    shown = b""
    while b"not shown" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"tvly-0123456789\n")
    try:
        while more := os.read(terminal, 1024):
            shown += more
    except OSError:
        pass  # Linux's way to say that the other end is closed
    _, code = os.waitpid(child, 0)
    os.close(terminal)
    assert code == 0, shown
    assert b"SEARCH_KEY is stored" in shown
    assert b"tvly" not in shown
    assert "tvly-0123456789" in Path(environment["THINKUBE_HOME"], "secrets.json").read_text()


def test_a_value_on_the_command_line_is_a_wrong_call(environment: dict[str, str]):
    refused = thinkube(environment, "secret", "set", "SEARCH_KEY", "tvly-0123456789")
    assert refused.returncode == 2
    assert not Path(environment["THINKUBE_HOME"], "secrets.json").exists()
    assert thinkube(environment, "secret", "set", "SEARCH_KEY").returncode == 1, "nothing typed"


@pytest.mark.parametrize("verb", ["set", "list", "delete"])
def test_every_verb_explains_itself(environment: dict[str, str], verb: str):
    told = thinkube(environment, "secret", verb, "--help").stdout
    assert f"Example: thinkube secret {verb}" in told
    assert "--json" in told
