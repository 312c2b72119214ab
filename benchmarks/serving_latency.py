"""What the runtime adds to bare Starlette on the same graph, in the same run, in interleaved rounds.

python benchmarks/serving_latency.py
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GRAPH = """
from typing_extensions import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    question: str
    answer: str

async def think(state):
    return {"answer": state["question"].upper()}

async def say(state):
    return {"answer": state["answer"] + "!"}

agent = (
    StateGraph(State).add_node(think).add_node(say)
    .add_edge(START, "think").add_edge("think", "say").add_edge("say", END).compile()
)
"""
BARE = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from graph_agent import agent

async def invoke(request):
    given = await request.json()
    return JSONResponse({"output": await agent.ainvoke(given["input"])})

app = Starlette(routes=[Route("/invoke", invoke, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, loop="uvloop", http="httptools")
"""
MANIFEST = """apiVersion: thinkube.io/v1
kind: Agent
name: graph
entrypoint: "graph_agent:agent"
template: tkt-langchain-agent
python: "3.11"
"""
BODY = b'{"input": {"question": "what does zip do?"}}'
REQUEST = (
    b"POST /invoke HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(BODY),
        BODY,
    )
)


def once(connection: socket.socket) -> None:
    connection.sendall(REQUEST)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b" 200 " in head[:20], head
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)


def latencies(port: int, requests: int) -> list[float]:
    """Milliseconds of one client's requests, one after the other."""
    found = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(requests):
            started = time.perf_counter()
            once(connection)
            found.append((time.perf_counter() - started) * 1000)
    return found


def throughput(port: int, requests: int, clients: int) -> float:
    """Requests a second of several clients."""

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(requests // clients):
                once(connection)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return requests / (time.perf_counter() - began)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(command: Callable[[int], list[str]], folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    env = {**os.environ, "THINKUBE_HOME": str(folder / "home")}
    process = subprocess.Popen(command(port), cwd=folder, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            latencies(port, 50)
            return process, port
        except OSError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)


def measure(rounds: int, requests: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "graph_agent.py").write_text(GRAPH)
        (folder / "bare.py").write_text(BARE)
        (folder / "thinkube.yaml").write_text(MANIFEST)
        serving = [sys.executable, "-m", "thinkube.serving", "--bundle", str(folder)]
        servers = {
            "starlette": started(lambda port: [sys.executable, "bare.py", str(port)], folder),
            "thinkube": started(lambda port: [*serving, "--port", str(port)], folder),
        }
        try:
            single: dict[str, list[float]] = {key: [] for key in servers}
            many: dict[str, list[float]] = {key: [] for key in servers}
            for _ in range(rounds):
                for key, (_, port) in servers.items():
                    single[key] += latencies(port, requests)
                    many[key].append(throughput(port, requests, 16))
        finally:
            for process, _ in servers.values():
                process.kill()
                process.wait()
    return {key: summary(single[key], many[key]) for key in servers}


def summary(single: list[float], many: list[float]) -> dict[str, float]:
    ordered = sorted(single)
    return {
        "p50 ms": round(statistics.median(ordered), 3),
        "p99 ms": round(ordered[int(len(ordered) * 0.99)], 3),
        "requests per second, 16 clients": round(statistics.median(many)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    print(json.dumps(measure(options.rounds, options.requests), indent=1))
