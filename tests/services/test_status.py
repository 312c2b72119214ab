"""What `tk.status()` shows."""

from __future__ import annotations

import json
import time
from io import StringIO

import pytest

import thinkube as tk
from thinkube.services.table import SERVICES


@pytest.mark.usefixtures("stack")
def test_everything_is_up_and_says_where_it_was_found():
    began = time.perf_counter()
    status = tk.status()
    assert time.perf_counter() - began < 2
    assert [row.service for row in status] == list(SERVICES)
    assert {row.service: row.health for row in status} == {
        name: "up" if service.local else "not found" for name, service in SERVICES.items()
    }
    assert status.healthy
    for row in status:
        if row.health == "up":
            assert row.latency is not None
            assert "the local stack" in row.source


@pytest.mark.usefixtures("stack")
def test_it_shows_itself_as_a_table_everywhere():
    from rich.console import Console

    status = tk.status()
    terminal = StringIO()
    Console(file=terminal, width=80).print(status)
    for shown in (terminal.getvalue(), repr(status), status._repr_html_()):
        for row in status:
            assert row.url in shown
            assert row.title in shown
    assert json.loads(json.dumps(status.to_dict()))["services"][0]["health"] == "up"


@pytest.mark.usefixtures("stack")
def test_each_service_tells_its_own_version():
    from importlib.metadata import version

    status = tk.status()
    assert status["mlflow"].version == status["langfuse"].version == version("mlflow")
    assert status["qdrant"].version == version("qdrant-client")
    assert status["nats"].version.startswith("2.")
    assert status["llm"].version.startswith("1.")


@pytest.mark.usefixtures("stack")
def test_one_source_is_told_once():
    shown = repr(tk.status())
    assert shown.count("Found through the local stack") == shown.count("the local stack") == 1


@pytest.mark.usefixtures("empty_home")
def test_a_url_is_shown_whole_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch):
    from rich.console import Console

    url = "http://127.0.0.1:9/a/path/that/is/so/long/that/no/column/of/eighty/characters/could/hold/it"
    monkeypatch.setenv("QDRANT_URL", url)
    terminal = StringIO()
    Console(file=terminal, width=80).print(tk.status())
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    column = lines[0].index("url")
    end = lines[0].index("health")
    assert url in "".join(line[column:end].strip() for line in lines)
    assert "Qdrant: " in terminal.getvalue(), "what is wrong is told below"


@pytest.mark.usefixtures("stack")
def test_no_secret_is_shown():
    from thinkube.services import state

    current = state.read()
    assert current
    shown = repr(tk.status()) + json.dumps(tk.status().to_dict()) + repr(current)
    assert not [local.name for local in current.services.values() if local.secret in shown]


@pytest.mark.usefixtures("empty_home")
def test_nothing_known_is_not_unhealthy():
    status = tk.status()
    assert {row.health for row in status} == {"not found"}
    assert status.healthy


@pytest.mark.usefixtures("empty_home")
def test_one_dead_service_takes_no_other_down(monkeypatch: pytest.MonkeyPatch, unused_port: int):
    monkeypatch.setenv("QDRANT_URL", f"http://127.0.0.1:{unused_port}")
    monkeypatch.setenv("NATS_URL", "not a url")
    status = tk.status()
    assert status["qdrant"].health == "down"
    assert "refused" in status["qdrant"].detail
    assert status["nats"].health == "misconfigured"
    assert status["mlflow"].health == "not found"
    assert not status.healthy
