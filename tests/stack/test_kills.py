"""The loop of kills under load, in short: `python tests/stack/kills.py` has all services and fifty kills."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(120)
def test_nothing_acknowledged_is_lost_to_kills_under_load():
    script = Path(__file__).with_name("kills.py")
    result = subprocess.run(
        [sys.executable, str(script), "--kills", "4", "--only", "nats", "--only", "qdrant"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert {name: len(seconds) for name, seconds in told["back_after_s"].items()} == {"nats": 2, "qdrant": 2}
    assert all(each["acknowledged"] > 10 and each["lost"] == 0 for each in told["stored"])
    assert {each["what"] for each in told["stored"]} == {"messages", "vectors"}
