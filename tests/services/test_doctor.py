"""`thinkube doctor`: each trouble made for real, found, explained and undone by its fix."""

from __future__ import annotations

import os
import socket
import sys
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.services.conftest import Serve

from thinkube.services import machine, secrets, state
from thinkube.services.doctor import doctor, stack
from thinkube.services.machine import Finding

pytestmark = pytest.mark.usefixtures("empty_home")


@pytest.fixture(autouse=True)
def activated(monkeypatch: pytest.MonkeyPatch):
    """Whatever environment the tester activated is not what these tests are about."""
    for variable in (*(f"{s}_{p}".lower() for s in ("http", "https", "all", "no") for p in ("proxy",)),):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)


def only(findings: list[Finding] | tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


def server(headers: dict[str, str], bodies: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(bodies.get(self.path, b"{}"))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Answers


def test_a_machine_without_trouble_is_healthy():
    found = doctor()
    assert found.healthy, [each for each in found.findings if each.verdict == "problem"]
    assert {each.check for each in found.findings} == {
        "python", "proxy", "disk", "gpu", "settings", "stack", "services", "versions", "clock",
    }  # fmt: skip


@pytest.mark.usefixtures("stack")
def test_a_running_stack_is_healthy(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("THINKUBE_HOME", str(home))
    found = doctor()
    assert found.healthy, [each for each in found.findings if each.verdict == "problem"]
    assert "MLflow" in only(found.of("services")).cause
    assert only(found.of("stack")).cause == "The stack runs."


def test_a_proxy_that_would_catch_loopback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://ada:s3cret@proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", ".example.com")
    finding = only(machine.proxy())
    assert finding.verdict == "problem"
    assert "HTTP_PROXY is set and NO_PROXY leaves out 127.0.0.1 and localhost" in finding.cause
    assert "s3cret" not in finding.cause + finding.fix
    name, _, value = finding.fix.removeprefix("export ").partition("=")
    monkeypatch.setenv(name, value)
    assert only(machine.proxy()).verdict == "ok"


def test_another_environment_is_activated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    finding = only(machine.python())
    assert finding.verdict == "problem"
    assert str(tmp_path) in finding.cause
    assert sys.prefix in finding.fix


def test_a_python_that_is_not_supported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PYTHONS", ((3, 90), (3, 91)))
    finding = only(machine.python())
    assert finding.verdict == "problem"
    assert "Thinkube runs on 3.90 to 3.90" in finding.cause


def test_the_supported_pythons_are_those_of_the_distribution():
    from importlib.metadata import metadata

    lowest, beyond = (".".join(map(str, each)) for each in machine.PYTHONS)
    assert set(metadata("thinkube-sdk")["Requires-Python"].split(",")) == {f">={lowest}", f"<{beyond}"}


def test_a_full_disk():
    found = machine.disk(needed=2**62)
    assert {each.verdict for each in found} == {"problem"}
    assert "THINKUBE_HOME" in found[0].fix


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch):
    # Nobody writes there, not even root.
    monkeypatch.setenv("THINKUBE_HOME", "/proc/thinkube")
    finding = only([each for each in machine.disk() if each.verdict == "problem"])
    assert "/proc/thinkube" in finding.cause
    assert "THINKUBE_HOME" in finding.fix


@pytest.mark.parametrize(
    ("script", "verdict", "cause", "fix"),
    [
        ("echo 'NVIDIA H200, 580.95.05, 143771 MiB'", "ok", "NVIDIA H200, 143771 MiB, driver 580.95.05.", ""),
        (
            "echo 'NVIDIA L4, 535.183.01, 23034 MiB'",
            "problem",
            "is version 535.183.01",
            "version 580 or later",
        ),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "problem",
            "Driver/library version mismatch",
            "restart this machine",
        ),
        ('echo "couldn\'t communicate with the NVIDIA driver"; exit 9', "problem", "does not", "modprobe"),
        ("echo 'No devices were found'; exit 6", "problem", "No devices", "given one"),
    ],
)
def test_a_driver_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, verdict: str, cause: str, fix: str
):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    finding = only(machine.gpu())
    assert finding.verdict == verdict
    assert cause in finding.cause
    assert fix in finding.fix


def test_a_stack_that_was_killed_and_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        local = state.LocalService("nats", "NATS", ("nats",), f"nats://127.0.0.1:{port}", stage="ready")
        state.write(state.State(2**22 + 1, {"nats": local}))
        stale, taken = stack()
        assert "is stale" in stale.cause
        assert "thinkube up" in stale.fix
        assert f"Port {port}, which NATS keeps between starts, is taken by another program" in taken.cause
        assert f"lsof -i :{port}" in taken.fix
    state.write(state.State(0, {"nats": local}))
    assert only(stack()).verdict == "ok"


def test_files_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    state.directory().mkdir(parents=True)
    state.state_file().write_text("{")
    secrets.store("KEY", "value")
    (state.directory().parent / "secrets.json").chmod(0o644)
    config = tmp_path / "thinkube" / "config.toml"
    config.parent.mkdir()
    config.write_text("colour = 1\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = doctor()
    assert not found.healthy
    assert "can't be read as the stack's state" in only(found.of("stack")).cause
    told = " ".join(each.cause for each in found.of("settings"))
    assert "line 1: unknown key 'colour'" in told
    assert "others than its owner" in told


def test_a_service_that_is_known_and_does_not_answer(monkeypatch: pytest.MonkeyPatch, unused_port: int):
    monkeypatch.setenv("QDRANT_URL", f"http://127.0.0.1:{unused_port}")
    finding = only(doctor().of("services"))
    assert finding.verdict == "problem"
    assert "Found through the environment variable QDRANT_URL" in finding.cause


def test_a_client_and_a_server_that_do_not_go_together(monkeypatch: pytest.MonkeyPatch, serve: Serve):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", serve(server({}, {"/version": b"1.30.1"})))
    monkeypatch.setenv("QDRANT_URL", serve(server({}, {"/": b'{"title": "qdrant", "version": "1.2.0"}'})))
    monkeypatch.setenv(
        "LANGFUSE_BASE_URL", serve(server({}, {"/api/public/health": b'{"status":"OK","version":"2.95.1"}'}))
    )
    mlflow, qdrant, langfuse = doctor().of("versions")
    assert "MLflow" in mlflow.cause
    assert "is version 1.30.1" in mlflow.cause
    assert "pip install 'mlflow==1.*'" in mlflow.fix
    assert "one minor version apart" in qdrant.cause
    assert "pip install 'qdrant-client==1.2.*'" in qdrant.fix
    assert "version 3 or later" in langfuse.cause


@pytest.mark.parametrize(("shift", "word"), [(3600, "ahead of"), (-600, "behind")])
def test_clocks_that_disagree(monkeypatch: pytest.MonkeyPatch, serve: Serve, shift: int, word: str):
    date = formatdate(time.time() + shift, usegmt=True)
    monkeypatch.setenv("QDRANT_URL", serve(server({"Date": date}, {})))
    finding = only(doctor().of("clock"))
    assert finding.verdict == "problem"
    assert word in finding.cause
    assert "timedatectl" in finding.fix
