"""`thinkube doctor` as a person in a shell meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def thinkube(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "THINKUBE_HOME": str(home), **variables}
    command = [sys.executable, "-m", "thinkube", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_a_trouble_is_explained_and_exits_with_1(tmp_path: Path):
    healthy = thinkube(tmp_path, "doctor")
    assert healthy.returncode == 0, healthy.stdout
    assert "✓ python: Python 3." in healthy.stdout
    sick = thinkube(tmp_path, "doctor", HTTP_PROXY="http://proxy.example.com:3128")
    assert sick.returncode == 1
    assert "✗ proxy: HTTP_PROXY is set" in sick.stdout
    assert "  Fix: export NO_PROXY=127.0.0.1,localhost" in sick.stdout
    as_json = thinkube(tmp_path, "doctor", "--json", HTTP_PROXY="http://proxy.example.com:3128")
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert not document["healthy"]
    (proxy,) = [each for each in document["findings"] if each["check"] == "proxy"]
    assert proxy["verdict"] == "problem"
    assert "export NO_PROXY" in proxy["fix"]


def test_it_explains_itself(tmp_path: Path):
    told = thinkube(tmp_path, "doctor", "--help").stdout
    assert "Example: thinkube doctor" in told
    assert "--json" in told
