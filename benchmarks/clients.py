"""What `tk.<client>()` costs beyond making the same object by hand, once its library is loaded.

Against the running stack (`thinkube up`), the first client of a process each.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from thinkube.services.discovery import find
from thinkube.services.table import CLIENTS

ROUNDS = 5
# The client's library, and what makes the same object by hand. NATS logs in, the others connect later.
MADE_BY_HAND = {
    "llm": ("langchain_openai", "library.ChatOpenAI(model='m', base_url=url + '/v1', api_key=key)"),
    "openai": ("openai", "library.OpenAI(base_url=url + '/v1', api_key=key)"),
    "embeddings": (
        "langchain_openai",
        "library.OpenAIEmbeddings(model='m', base_url=url + '/v1', api_key=key)",
    ),
    "crew_llm": (
        "crewai",
        "library.LLM(model='m', custom_openai=True, base_url=url + '/v1', api_key=key)",
    ),
    "mlflow": ("mlflow", "library.set_registry_uri(url)"),
    "langfuse": (
        "langfuse",
        "library.Langfuse(base_url=url, public_key='pk', secret_key='sk')",
    ),
    "qdrant": ("qdrant_client", "library.QdrantClient(url=url, check_compatibility=False)"),
    "nats": ("nats", "asyncio.run(library.connect(url, token=key))"),
}

CODE = """
import asyncio, importlib, json, sys, time
client, module, by_hand, url, key = sys.argv[1:]
library = importlib.import_module(module)
exec(by_hand)  # what the library loads with its first object
began = time.perf_counter()
exec(by_hand)
between = time.perf_counter()
import thinkube as tk
def get():
    made = getattr(tk, client)()
    if client == "nats":
        asyncio.run(made)
get()
first = time.perf_counter()
get()
print(json.dumps([between - began, first - between, time.perf_counter() - first]))
"""


def seconds(client: str, module: str, by_hand: str) -> list[float]:
    """Time of making the object by hand, of getting the process's first from Thinkube, and a further one."""
    endpoint = find(CLIENTS[client].service)
    secret = endpoint.credential.secret if endpoint.credential else ""
    command = [sys.executable, "-c", CODE, client, module, by_hand, endpoint.url, secret]
    asked = subprocess.run(command, check=True, capture_output=True, text=True)
    times: list[float] = json.loads(asked.stdout.splitlines()[-1])
    return times


def main() -> None:
    """Print medians: by hand, and what the first (with `import thinkube`) and a further one cost beyond."""
    print(f"{'client':12}{'by hand':>10}{'first':>10}{'further':>10}")
    for client, (module, by_hand) in MADE_BY_HAND.items():
        rounds = [seconds(client, module, by_hand) for _ in range(ROUNDS)]
        by_hands, first, further = (
            statistics.median(each) * 1e3
            for each in zip(*((hand, one - hand, two - hand) for hand, one, two in rounds), strict=True)
        )
        print(f"{client:12}{by_hands:8.1f}ms{first:+8.1f}ms{further:+8.1f}ms")


if __name__ == "__main__":
    main()
