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


@pytest.fixture
def keyring(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment with a keyring that is a file, of keyrings.alt."""
    return {
        **environment,
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


def test_a_keyring_keeps_the_value_and_the_file_its_name(keyring: dict[str, str], tmp_path: Path):
    file = tmp_path / "thinkube" / "secrets.json"
    without = {**keyring, "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
    assert thinkube(without, "secret", "set", "SEARCH_KEY", typed="tvly-before\n").returncode == 0
    told = thinkube(keyring, "secret", "set", "SEARCH_KEY", typed="tvly-0123456789\n")
    assert "in the keyring" in told.stdout, told.stderr
    assert "tvly" not in file.read_text(), "a value that moves to the keyring leaves the file"
    code = 'import thinkube as tk; print(tk.secret("SEARCH_KEY") == "tvly-0123456789")'
    read = subprocess.run([sys.executable, "-c", code], env=keyring, capture_output=True, check=True)
    assert read.stdout.strip() == b"True"
    (listed,) = json.loads(thinkube(keyring, "secret", "list", "--json").stdout)
    assert listed["name"] == "SEARCH_KEY"
    assert listed["source"].startswith("the keyring")
    # Without the keyring the name is known and the value is not: said, and never another's value.
    gone = thinkube(without, "secret", "list", "--json")
    assert "not there any more" in json.loads(gone.stdout)[0]["source"]
    assert subprocess.run([sys.executable, "-c", code], env=without, capture_output=True).returncode == 1
    assert thinkube(keyring, "secret", "delete", "SEARCH_KEY").returncode == 0
    assert json.loads(file.read_text()) == {"version": 1, "secrets": {}, "keyring": []}
    kept = (tmp_path / "data" / "python_keyring" / "keyring_pass.cfg").read_text()
    assert "SEARCH" not in kept.upper().replace("_5F", "_")


def test_a_keyring_that_is_locked_is_named_and_nothing_is_lost(keyring: dict[str, str], tmp_path: Path):
    (tmp_path / "locked.py").write_text(
        "from keyring.backend import KeyringBackend\n"
        "from keyring.errors import KeyringLocked\n"
        "class Locked(KeyringBackend):\n"
        "    priority = 5\n"
        "    def get_password(self, service, name): raise KeyringLocked('locked by its owner')\n"
        "    set_password = delete_password = lambda self, *_: self.get_password('', '')\n"
    )
    locked = {**keyring, "PYTHON_KEYRING_BACKEND": "locked.Locked", "PYTHONPATH": str(tmp_path)}
    assert thinkube(keyring, "secret", "set", "SEARCH_KEY", typed="tvly-0123456789\n").returncode == 0
    for verb in (("set", "OTHER_KEY"), ("delete", "SEARCH_KEY")):
        refused = thinkube(locked, "secret", *verb, typed="value-0123456789\n")
        assert refused.returncode == 1
        assert "locked by its owner" in refused.stderr
        assert "Unlock it" in refused.stderr
        assert "value-0123456789" not in refused.stdout + refused.stderr
    (listed,) = json.loads(thinkube(keyring, "secret", "list", "--json").stdout)
    assert listed["name"] == "SEARCH_KEY"
