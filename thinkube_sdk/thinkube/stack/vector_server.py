"""Qdrant's REST API over qdrant-client's local engine, shared by processes.

`python -m thinkube.stack.vector_server PORT FOLDER`. What the engine can't do answers 501 and names it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError
from pydantic_core import to_json
from qdrant_client import QdrantClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from thinkube.stack.vector_operations import OPERATIONS, NotThere, Operation, parse
from thinkube.stack.vector_settings import Settings


class Engine:
    """The engine, and the one thread that may use it."""

    def __init__(self, folder: str) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._client = self._pool.submit(self._open, folder).result()

    async def run(self, operation: Operation, path: Mapping[str, str], content: bytes) -> Any:
        """The result of an operation."""
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._run, operation, path, content
        )

    def close(self) -> None:
        """Write everything and let go of the folder."""
        self._pool.submit(self._client.close).result()

    def _open(self, folder: str) -> QdrantClient:
        client = QdrantClient(path=folder)
        self._settings = Settings(Path(folder))
        self._commit_to_journal(client)
        return client

    def _run(self, operation: Operation, path: Mapping[str, str], content: bytes) -> Any:
        name, body = path.get("name", ""), parse(operation, content)
        collection = self._collection(name)
        result = operation.call(self._client, name, body)
        if operation.changes:
            self._commit_to_journal(self._client)
        match operation.settings:
            case "created":
                self._settings.created(name, body)
            case "dropped":
                self._settings.dropped(name)
            case "indexed":
                self._settings.indexed(collection, body)
            case "unindexed":
                self._settings.unindexed(collection, path["field"])
            case "told":
                return self._settings.told(collection, result)
        return result

    def _collection(self, name: str) -> str:
        """The collection that an alias stands for; any other name is its own."""
        aliases = {each.alias_name: each.collection_name for each in self._client.get_aliases().aliases}
        return aliases.get(name, name)

    @staticmethod
    def _commit_to_journal(client: QdrantClient) -> None:
        """The engine commits point by point; with a write-ahead journal that costs no wait for the disk."""
        for collection in client._client.collections.values():  # type: ignore[attr-defined]
            collection.storage.storage.execute("PRAGMA journal_mode=WAL")
            collection.storage.storage.execute("PRAGMA synchronous=NORMAL")


def application(engine: Engine, key: str) -> Starlette:
    """The ASGI application."""

    def endpoint(operation: Operation) -> Any:
        async def answer(request: Request) -> Response:
            if not _allowed(request, key):
                return _error(401, "Must provide an API key or an Authorization bearer token")
            began = time.perf_counter()
            content = await request.body()
            try:
                result = await engine.run(operation, request.path_params, content)
            except NotThere as error:
                return _error(404, str(error))
            except FileExistsError as error:
                return _error(409, str(error))
            except NotImplementedError as error:
                return _not_done(request, str(error))
            except ValidationError as error:
                return _error(400, f"Format error in JSON body: {_first(error)}")
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                # The engine says "Collection x not found" with a ValueError.
                missing = isinstance(error, ValueError) and "not found" in str(error)
                return _error(404 if missing else 400, str(error))
            seconds = time.perf_counter() - began
            return Response(
                to_json(
                    {"result": result, "status": "ok", "time": seconds},
                    exclude_none=True,
                    fallback=lambda number: number.tolist(),
                ),
                media_type="application/json",
            )

        return answer

    async def root(_: Request) -> JSONResponse:
        return JSONResponse({"title": "qdrant - vector search engine", "version": version("qdrant-client")})

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("healthz check passed")

    async def other(request: Request) -> Response:
        return _not_done(request)

    return Starlette(
        routes=[
            Route("/", root),
            *(Route(path, health) for path in ("/healthz", "/livez", "/readyz")),
            *(Route(each.path, endpoint(each), methods=[each.method]) for each in OPERATIONS),
            Route("/{path:path}", other, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )


def _allowed(request: Request, key: str) -> bool:
    given = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(given.encode(), key.encode())


def _not_done(request: Request, reason: str = "") -> JSONResponse:
    operation = f"{request.method} {request.url.path}"
    if not reason and "/snapshots" in request.url.path:
        reason = "To move a collection to another Qdrant: thinkube vectors push COLLECTION --to URL"
    return _error(501, f"The local stack's Qdrant does not do `{operation}`. {reason}".strip())


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"status": {"error": message}, "time": 0.0}, status)


def _first(error: ValidationError) -> str:
    entry = error.errors()[0]
    return f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}"


def main(port: int, folder: str, key: str) -> None:
    """Serve until a signal comes."""
    engine = Engine(folder)
    try:
        uvicorn.run(
            application(engine, key),
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_graceful_shutdown=5,
        )
    finally:
        engine.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], os.environ.pop("THINKUBE_SERVICE_SECRET"))
