"""LiteLLM's proxy, which takes in models that are added while it runs.

Runs by its path in an environment of its own, so it imports nothing of ours.
`python gateway_server.py CONFIG MODELS PORT`: CONFIG is LiteLLM's; MODELS is a JSON list of further
deployments in LiteLLM's own form, looked at again whenever the file is replaced.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from litellm.proxy import proxy_server  # type: ignore[import-not-found]
from litellm.proxy.proxy_cli import run_server  # type: ignore[import-not-found]
from litellm.types.router import Deployment  # type: ignore[import-not-found]

_SECONDS = 0.2


async def follow(path: Path) -> None:
    """Keep the router's models at what the file says; requests under way keep the deployment they have."""
    seen: object = None
    known: set[str] = set()
    while True:
        now = _mark(path)
        if now != seen:
            seen = now
            try:
                known = _apply(_read(path) if now else [], known)
            except (ValueError, KeyError, TypeError) as error:
                # Requests to the other models go on.
                print(f"{path} can't be used: {type(error).__name__}: {error}", flush=True)
        await asyncio.sleep(_SECONDS)


def _read(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


def _mark(path: Path) -> object:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def _apply(entries: list[dict[str, Any]], known: set[str]) -> set[str]:
    router = proxy_server.llm_router
    for entry in entries:
        router.upsert_deployment(Deployment(**entry))
    wanted = {entry["model_info"]["id"] for entry in entries}
    for gone in known - wanted:
        router.delete_deployment(id=gone)
    print(f"added models: {', '.join(entry['model_name'] for entry in entries) or 'none'}", flush=True)
    return wanted


def main(config: str, models: Path, port: str) -> None:
    """Serve until a signal comes."""
    routes = proxy_server.app.router
    started = routes.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with started(app) as state:
            task = asyncio.create_task(follow(models))
            try:
                yield state
            finally:
                task.cancel()

    routes.lifespan_context = lifespan
    run_server(["--config", config, "--telemetry", "False", "--host", "127.0.0.1", "--port", port])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
