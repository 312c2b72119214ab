"""Verbs for what runs on this machine, as a person in a shell meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def thinkube(tmp_path: Path) -> Iterator[Command]:
    """The command, with a home and a cache of its own."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "THINKUBE_HOME": str(tmp_path / "home"),
            "THINKUBE_CACHE": str(tmp_path / "cache"),
        }
        return subprocess.run(
            [sys.executable, "-m", "thinkube", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    yield run
    run("down")


@pytest.mark.parametrize("verb", ["service logs", "service restart", "vectors push", "gc"])
def test_every_verb_explains_itself_with_an_example_and_speaks_json(verb: str, thinkube: Command):
    result = thinkube(*verb.split(), "--help")
    assert result.returncode == 0
    assert f"Example: thinkube {verb}" in result.stdout
    assert "--json" in result.stdout


def test_a_service_is_started_restarted_and_read(thinkube: Command):
    started = json.loads(thinkube("up", "--only", "nats", "--json").stdout)["stack"]
    (program,) = started["programs"]
    assert (program["name"], program["stage"], program["restarts"]) == ("nats", "ready", 0)
    assert started["memory"] > program["memory"] > 1e6
    again = json.loads(thinkube("service", "restart", "nats", "--json").stdout)
    assert again["url"] == program["url"]
    assert again["pid"] != program["pid"]
    assert "Server is ready" in thinkube("service", "logs", "nats").stdout
    shown = thinkube("status")
    assert "Local stack: 1 running" in shown.stdout
    refused = thinkube("service", "restart", "mongodb")
    assert (refused.returncode, "mongodb" in refused.stderr) == (1, True)


def test_up_detached_says_how_to_watch(thinkube: Command):
    result = thinkube("up", "--only", "nats", "--detach")
    assert result.returncode == 0
    assert "thinkube status" in result.stdout


def test_what_nobody_uses_is_shown_with_its_size_and_removed(thinkube: Command, tmp_path: Path):
    old, new = (
        tmp_path / "cache" / "environments" / ("a" * 64),
        tmp_path / "cache" / "environments" / ("b" * 64),
    )
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 2_000_000)
    before = time.time() - 40 * 86400
    os.utime(old, (before, before))
    said = json.loads(thinkube("gc", "--dry-run", "--json").stdout)
    assert (said["removed"], said["bytes"]) == (False, 2_000_000)
    assert [entry["path"] for entry in said["entries"]] == [str(old)]
    assert old.exists()
    result = thinkube("gc")
    assert "Freed 2.0 MB (1 found)." in result.stdout
    assert "environment" in result.stdout
    assert (old.exists(), new.exists()) == (False, True)
