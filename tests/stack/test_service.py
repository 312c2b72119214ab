"""One service of the stack: its log, its restart, what it costs; and those that run elsewhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import thinkube as tk
from thinkube.errors import StackError
from thinkube.services import state
from thinkube.services.exported import export
from thinkube.services.state import LocalService
from thinkube.stack.elsewhere import elsewhere
from thinkube.stack.service import logs, restart
from thinkube.stack.summary import summary
from thinkube.stack.up import up

Local = Callable[[str], LocalService]
Eventually = Callable[..., None]


@pytest.mark.usefixtures("own_home")
def test_a_restart_keeps_the_place_and_counts_no_death(local: Local):
    up(["nats", "qdrant"])
    before, other = local("nats"), local("qdrant")
    lines: list[str] = []
    now = restart("nats", progress=lines.append)
    assert now.pid != before.pid
    assert (now.url, now.secret, now.restarts) == (before.url, before.secret, 0)
    assert lines == ["NATS: restarting", f"NATS: ready at {before.url}"]
    assert tk.status()["nats"].health == "up"
    assert local("qdrant") == other
    assert any("asked for" in line for line in logs("nats"))


@pytest.mark.usefixtures("own_home")
def test_a_death_is_visible_in_the_log_and_in_the_summary(local: Local, eventually: Eventually):
    up(["nats"])
    os.kill(local("nats").pid, signal.SIGKILL)
    eventually(lambda: (local("nats").restarts, local("nats").stage) == (1, "ready"))
    (line,) = [line for line in logs("nats") if line.startswith("[thinkube]")]
    assert line.endswith("NATS ended with SIGKILL; restart 1")
    now = summary()
    assert now
    assert [(each.name, each.restarts, each.ended) for each in now.programs] == [("nats", 1, "SIGKILL")]
    assert any("NATS died and was started again once" in sentence for sentence in now.sentences())
    assert 5e6 < now.memory < 3e9
    assert now.to_dict()["memory"] == now.memory


@pytest.mark.usefixtures("own_home")
def test_a_followed_log_goes_on_over_a_restart(eventually: Eventually):
    up(["nats"])
    heard: list[str] = []

    def listen() -> None:
        for line in logs("nats", follow=True):
            heard.append(line)
            if "asked for" in line:
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    eventually(lambda: any("Server is ready" in line for line in heard))
    restart("nats")
    listener.join(10)
    assert not listener.is_alive()


@pytest.mark.usefixtures("own_home")
def test_what_does_not_run_has_no_log_and_no_restart():
    with pytest.raises(StackError, match="does not run MLflow"):
        restart("mlflow")
    with pytest.raises(StackError, match="never started"):
        logs("llm")
    with pytest.raises(StackError, match="has no 'mongodb'"):
        logs("mongodb")
    assert summary() is None


@pytest.mark.usefixtures("own_home")
def test_a_restart_that_fails_says_why(local: Local):
    up(["qdrant"])
    broken = state.directory() / "data" / "qdrant" / "meta.json"
    broken.write_text("{broken")
    with pytest.raises(StackError, match="Qdrant does not start: ended with status 1"):
        restart("qdrant")
    broken.unlink()
    up(["qdrant"])
    assert local("qdrant").stage == "ready"


@pytest.mark.usefixtures("own_home")
def test_services_that_run_elsewhere_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch, local: Local):
    for variable in ("MLFLOW_TRACKING_URI", "OPENAI_BASE_URL", "QDRANT_URL"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert elsewhere() == {
        "mlflow": "MLFLOW_TRACKING_URI",
        "gateway": "OPENAI_BASE_URL",
        "models": "OPENAI_BASE_URL",
        "embeddings": "OPENAI_BASE_URL",
        "qdrant": "QDRANT_URL",
    }
    lines: list[str] = []
    up(progress=lines.append)
    assert "MLflow: left out, MLFLOW_TRACKING_URI says that it runs elsewhere" in lines
    assert {name: local(name).stage for name in ("nats", "mlflow", "gateway", "models", "qdrant")} == {
        "nats": "ready",
        "mlflow": "stopped",
        "gateway": "stopped",
        "models": "stopped",
        "qdrant": "stopped",
    }
    assert tk.status()["qdrant"].health == "down"
    now = summary()
    assert now
    assert "Qdrant is not part of the stack: QDRANT_URL says where it runs" in now.sentences()


def test_what_a_client_of_ours_exported_is_not_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("THINKUBE_EXPORTED", "{}")
    export({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert elsewhere() == {}


def test_detached_it_returns_while_the_services_start(own_home: Path, local: Local, eventually: Eventually):
    now = up(["qdrant"], detach=True)
    assert now.supervisor
    assert now.services["qdrant"].stage != "ready"
    eventually(lambda: local("qdrant").stage == "ready")
    assert own_home.exists()
