"""Bundles written by hand, served by real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from thinkube.model.bundle import Manifest
from thinkube.model.manifest import write
from thinkube.targets.child import Child


def write_bundle(folder: Path, source: str, name: str = "trial", **fields: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial_agent.py").write_text(textwrap.dedent(source))
    manifest = Manifest(name, "trial_agent:agent", "Agent", "tkt-langchain-agent", "3.11", **fields)
    (folder / "thinkube.yaml").write_text(write(manifest))
    return folder


@dataclass
class Served:
    """A running server, a client for it, and what it has logged."""

    child: Child
    client: httpx.Client
    log: Path

    def invoke(self, given: Any, **parts: Any) -> httpx.Response:
        return self.client.post("/invoke", json={"input": given, **parts})

    def output(self, given: Any) -> Any:
        answer = self.invoke(given)
        assert answer.status_code == 200, answer.text
        return answer.json()["output"]

    def events(self, given: Any, path: str = "/stream") -> list[tuple[str, Any]]:
        text = self.client.post(path, json={"input": given}).text
        found = []
        for block in text.strip().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.splitlines())
            found.append((lines["event"], json.loads(lines["data"])))
        return found

    def chat(self, text: str, **more: Any) -> httpx.Response:
        return self.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": text}], **more}
        )

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


def start(folder: Path, source: str, env: dict[str, str] | None = None, **fields: Any) -> Served:
    bundle = write_bundle(folder / "bundle", source, **fields)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)

    def ready() -> bool:
        try:
            return client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    child = Child(
        [sys.executable, "-m", "thinkube.serving", "--bundle", str(bundle), "--port", str(port)],
        env={**os.environ, "THINKUBE_HOME": str(folder / "home"), **(env or {})},
        log=folder / "log",
        ready=ready,
    )
    child.wait_ready(30)
    return Served(child, client, folder / "log")


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start servers; the same source is started once."""
    running: dict[str, Served] = {}

    def get(source: str, env: dict[str, str] | None = None, **fields: Any) -> Served:
        key = json.dumps([source, env, sorted(fields)])
        if key not in running or not running[key].child.alive:
            running[key] = start(tmp_path_factory.mktemp("served"), source, env, **fields)
        return running[key]

    yield get
    for served in running.values():
        served.client.close()
        served.child.stop(15)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Postgres on a free port; its address."""
    home = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    assert home is not None, "Postgres is missing: apt-get install postgresql"
    folder = tmp_path_factory.mktemp("postgres")
    folder.chmod(0o777)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    as_user = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    )
    data = folder / "data"
    subprocess.run(
        [*as_user, home / "initdb", "--no-sync", "--auth=trust", "--username=tester", "--pgdata", data],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"postgresql://tester@127.0.0.1:{port}/postgres"
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def ready() -> bool:
        import psycopg

        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    child = Child(
        [*as_user, str(home / "postgres"), "-D", str(data), *options], log=folder / "log", ready=ready
    )
    child.wait_ready(60)
    yield url
    child.stop(20)
