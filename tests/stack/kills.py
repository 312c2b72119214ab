"""Kill every service of the stack in turn, under load, and count what was acknowledged and is lost.

`python tests/stack/kills.py --kills 50`; prints one line of JSON and exits with 1 when anything is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

# A client that waits for a dead server does not load it.
os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}

import thinkube as tk
from thinkube.services import state
from thinkube.stack.down import down
from thinkube.stack.up import up

READY_SECONDS = 120.0


class Load(threading.Thread):
    """Writes to one service as long as it is told to, and remembers what was acknowledged."""

    def __init__(
        self, name: str, refused: tuple[type[Exception], ...], write: Callable[[str], object]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.acknowledged: list[str] = []
        self.refusals = 0
        self.done = threading.Event()
        self._refused = refused
        self._write = write

    def run(self) -> None:
        while not self.done.is_set():
            key = uuid.uuid4().hex
            try:
                self._write(key)
            except self._refused:
                self.refusals += 1
                self.done.wait(0.05)
            else:
                self.acknowledged.append(key)
                self.done.wait(0.05)


def messages() -> tuple[Load, Callable[[], set[str]]]:
    """JetStream messages."""
    import nats.errors

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def call(work: Any, seconds: float = 10) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(seconds)

    async def quiet(_: Exception) -> None:
        """Connections break here on purpose."""

    connection = call(tk.nats(reconnect_time_wait=0.05, max_reconnect_attempts=-1, error_cb=quiet))
    stream = connection.jetstream()
    call(stream.add_stream(name="load", subjects=["load.>"]))

    async def read() -> set[str]:
        count = (await stream.stream_info("load")).state.messages
        return {((await stream.get_msg("load", seq=n)).data or b"").decode() for n in range(1, count + 1)}

    load = Load(
        "messages",
        (nats.errors.Error, TimeoutError, OSError),
        lambda key: call(stream.publish("load.one", key.encode(), timeout=1)),
    )
    return load, lambda: call(read(), 120)


def points() -> tuple[Load, Callable[[], set[str]]]:
    """Vectors."""
    from qdrant_client import models
    from qdrant_client.http.exceptions import ApiException

    client = tk.qdrant()
    client.create_collection("load", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))

    def read() -> set[str]:
        found: set[str] = set()
        after: Any = None
        while True:
            page, after = client.scroll("load", limit=1000, offset=after)
            found |= {uuid.UUID(str(point.id)).hex for point in page}
            if after is None:
                return found

    write = lambda key: client.upsert("load", [models.PointStruct(id=key, vector=[1.0, 2.0])])  # noqa: E731
    return Load("vectors", (ApiException,), write), read


def runs() -> tuple[Load, Callable[[], set[str]]]:
    """Runs with a metric, under a name each."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client: MlflowClient = tk.mlflow().MlflowClient()

    def write(key: str) -> None:
        run = client.create_run("0", run_name=key)
        client.log_metric(run.info.run_id, "one", 1.0)

    def read() -> set[str]:
        found, token = set(), None
        while True:
            page = client.search_runs(["0"], "metrics.one = 1", max_results=1000, page_token=token)
            found |= {str(run.info.run_name) for run in page}
            token = page.token
            if not token:
                return found

    return Load("runs", (MlflowException,), write), read


def versions() -> tuple[Load, Callable[[], set[str]]]:
    """Registered versions."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client: MlflowClient = tk.mlflow().MlflowClient()
    client.create_registered_model("load")

    def read() -> set[str]:
        found, token = set(), None
        while True:
            page = client.search_model_versions("name = 'load'", max_results=1000, page_token=token)
            found |= {str(version.source).rpartition("/")[2] for version in page}
            token = page.token
            if not token:
                return found

    def write(key: str) -> None:
        client.create_model_version("load", source=f"thinkube://load/{key}", await_creation_for=0)

    return Load("versions", (MlflowException,), write), read


def traces() -> tuple[Load, Callable[[], set[str]]]:
    """Traces: sent in the background, kept on disk while MLflow is away; none is ever refused."""
    langfuse = tk.langfuse()

    def write(key: str) -> None:
        with langfuse.start_as_current_observation(name=key, input=1):
            pass
        time.sleep(0.2)

    def read() -> set[str]:
        langfuse.flush()
        client = tk.mlflow().MlflowClient()
        found, token = set(), None
        while True:
            page = client.search_traces(locations=["0"], max_results=500, page_token=token)
            found |= {trace.data.spans[0].name for trace in page if trace.data.spans}
            token = page.token
            if not token:
                return found

    return Load("traces", (), write), read


LOADS = {"nats": (messages,), "qdrant": (points,), "mlflow": (runs, versions, traces)}


def kill(name: str) -> float:
    """Kill one program and give the seconds until it can be used again."""
    current = state.read()
    assert current
    before = current.services[name]
    began = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    while time.monotonic() < began + READY_SECONDS:
        now = state.read()
        assert now
        service = now.services[name]
        if service.restarts > before.restarts and service.stage == "ready":
            return time.monotonic() - began
        time.sleep(0.02)
    raise SystemExit(f"{name} is not back after {READY_SECONDS:.0f} s")


def progressed(loads: list[Load], more: int = 3) -> None:
    """Wait until everything was acknowledged a few times more: there is load, and it gets through."""
    before = [len(load.acknowledged) for load in loads]
    deadline = time.monotonic() + READY_SECONDS
    while not all(len(load.acknowledged) >= n + more for load, n in zip(loads, before, strict=True)):
        if time.monotonic() > deadline or not all(load.is_alive() for load in loads):
            raise SystemExit(f"No progress: {[(each.name, len(each.acknowledged)) for each in loads]}")
        time.sleep(0.02)


def run(kills: int, only: list[str] | None) -> dict[str, Any]:
    """The whole loop, in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["THINKUBE_HOME"] = home
        try:
            names = [service.name for service in up(only).services.values() if service.stage == "ready"]
            pairs = [make() for name in names for make in LOADS.get(name, ())]
            loads = [load for load, _ in pairs]
            for load in loads:
                load.start()
            seconds: dict[str, list[float]] = {name: [] for name in names}
            for number in range(kills):
                progressed(loads)
                name = names[number % len(names)]
                seconds[name].append(round(kill(name), 2))
                print(f"{number + 1}: {name} back after {seconds[name][-1]} s", file=sys.stderr, flush=True)
            progressed(loads)
            for load in loads:
                load.done.set()
            for load in loads:
                load.join()
            return {"kills": kills, "back_after_s": seconds, "stored": [_compared(*pair) for pair in pairs]}
        finally:
            down()


def _compared(load: Load, read: Callable[[], set[str]]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (lost := set(load.acknowledged) - read()) and time.monotonic() < deadline:
        time.sleep(0.5)  # traces are delivered in the background
    return {
        "what": load.name,
        "acknowledged": len(load.acknowledged),
        "refused": load.refusals,
        "lost": len(lost),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--only", action="append")
    arguments = parser.parse_args()
    result = run(arguments.kills, arguments.only)
    print(json.dumps(result))
    return 1 if any(each["lost"] for each in result["stored"]) else 0


if __name__ == "__main__":
    sys.exit(main())
