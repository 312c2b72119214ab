"""Redeploys and a crash under load: 50 clients with keep-alive and no retries, 20,000 requests.

    python benchmarks/serving_redeploy.py

During the run the agent is redeployed three times and its process is killed once with SIGKILL. Only
requests that were in progress in the killed process may fail.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

SOURCE = '''
def agent(question: str) -> dict[str, object]:
    """Version {version}."""
    import os
    return {{"version": {version}, "pid": os.getpid(), "question": question}}
'''


class Client(threading.Thread):
    """One connection that is kept, raw, so that nothing is tried again behind our back."""

    def __init__(self, port: int, key: str, requests: int, seen: Counter[str]) -> None:
        super().__init__()
        self._port = port
        self._key = key
        self._requests = requests
        self._seen = seen
        self.lost: list[str] = []
        self.seconds: list[float] = []

    def run(self) -> None:
        connection: socket.socket | None = None
        body = b'{"input": "?"}'
        head = f"POST /invoke HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self._key}\r\n"
        request = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
        for _ in range(self._requests):
            started = time.perf_counter()
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self._port), timeout=60)
                connection.sendall(request)
                head, answer = _read(connection)
            except OSError as error:
                self.lost.append(repr(error))
                connection = None
                continue
            self.seconds.append(time.perf_counter() - started)
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                self.lost.append(head.decode())
            else:
                self._seen[str(json.loads(answer)["output"]["version"])] += 1
            if b"connection: close" in head.lower():
                connection.close()
                connection = None


def _read(connection: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed without an answer")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("closed within an answer")
        body += piece
    return head, body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["THINKUBE_HOME"] = str(Path(folder) / "home")
        os.chdir(folder)
        print(json.dumps(measure(options.clients, options.requests), indent=1))


def measure(clients: int, requests: int) -> dict[str, Any]:
    import thinkube as tk

    def deploy(version: int) -> Any:
        Path("agent.py").write_text(SOURCE.format(version=version))
        return tk.deploy("agent.py", object="agent", name="load", progress=lambda _: None)

    deployment = deploy(1)
    seen: Counter[str] = Counter()
    port = int(deployment.url.rsplit(":", 1)[1])
    threads = [Client(port, deployment.key, requests // clients, seen) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        deploy(version)
    lost_before = sum(len(thread.lost) for thread in threads)
    os.kill(deployment.to_dict()["pid"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - began
    seconds = sorted(second for thread in threads for second in thread.seconds)
    restarts = deployment.to_dict()["restarts"]
    deployment.delete()
    return {
        "requests": requests,
        "clients": clients,
        "answered": sum(seen.values()),
        "lost over three redeploys": lost_before,
        "lost in the killed process": sum(len(thread.lost) for thread in threads) - lost_before,
        "restarts": restarts,
        "by version": dict(seen),
        "requests per second": round(requests / elapsed),
        "p50 ms": round(seconds[len(seconds) // 2] * 1000, 2),
        "p99 ms": round(seconds[int(len(seconds) * 0.99)] * 1000, 2),
        "slowest ms": round(seconds[-1] * 1000),
    }


if __name__ == "__main__":
    main()
