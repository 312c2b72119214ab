"""Redeploys under load lose no request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

import thinkube as tk
from thinkube.services.kubernetes_api import KubernetesApi

from . import agents


class Load:
    """Clients that keep their connections and repeat no request."""

    def __init__(self, url: str, key: str, clients: int) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._url, self._headers, self._ending = url, {"x-api-key": key}, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=60, trust_env=False) as client:
            while not self._ending.is_set():
                try:
                    reply = client.post("/invoke", json={"input": {"text": "hello"}})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if reply.status_code == 200:
                    self.answers.append(reply.json()["output"])
                else:
                    self.failures.append(f"{reply.status_code} {reply.text}")
                time.sleep(0.02)  # a client's own work between two requests


def test_two_replicas_are_replaced_under_load_without_a_failed_request(
    tmp_path: Path, context: str, api: KubernetesApi, eventually: Callable[..., None]
) -> None:
    name = f"busy-{context}"

    def deploy(word: str) -> None:
        path = agents.plain(tmp_path, repr(word))
        tk.deploy(path, object="agent", name=name, on=context, timeout=240.0, progress=lambda _: None)

    deploy("first")
    api.patch("Deployment", name, {"spec": {"replicas": 2}}, part="scale")
    eventually(lambda: (api.get("Deployment", name) or {})["status"].get("availableReplicas") == 2, 120)
    service = api.get("Service", name) or {}
    key = tk.deployment(name, context).key
    with Load(f"http://{service['spec']['clusterIP']}", key, 8) as load:
        eventually(lambda: len(load.answers) > 50, 60)
        deploy("second")
        deploy("third")
        eventually(lambda: load.answers[-1] == "third: hello", 60)
    assert load.failures == []
    assert {"first: hello", "second: hello", "third: hello"} == set(load.answers)
    assert (api.get("Deployment", name) or {})["spec"]["replicas"] == 2  # a scaled deployment stays so
