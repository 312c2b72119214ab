"""The ASGI application of a deployed agent."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkube.serving import thread_api
from thinkube.serving.log import caller, event, trace_id
from thinkube.serving.native import invoke, stream
from thinkube.serving.openai import chat_completions, models
from thinkube.serving.runtime import ClientGone, Runtime
from thinkube.serving.wire import Refused, reply

QUIET = ("/healthz", "/readyz", "/metrics")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def application(runtime: Runtime) -> ASGIApp:
    """Build the application around a loaded agent."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        if runtime.threads is not None:
            await runtime.threads.close()
        runtime.traces.flush()

    app = Starlette(
        routes=[
            Route("/invoke", _endpoint(invoke), methods=["POST"]),
            Route("/stream", _endpoint(stream), methods=["POST"]),
            Route("/v1/chat/completions", _endpoint(chat_completions), methods=["POST"]),
            Route("/v1/models", _endpoint(models)),
            Route("/metrics", metrics),
            *(
                Route(path, _endpoint(handler), methods=[method])
                for method, path, handler in thread_api.ROUTES
            ),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/openapi.json", openapi),
            Route("/docs", docs),
            Route("/", docs),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    return Observed(runtime.access.around(app), runtime)


async def healthz(_request: Request) -> Response:
    return reply({"status": "ok"})


async def readyz(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    status = "draining" if runtime.draining else "ready"
    return reply(
        {"status": status, "name": runtime.name, "release": runtime.release},
        status=503 if runtime.draining else 200,
    )


async def metrics(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    content, media_type = runtime.metrics.text(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": media_type})


async def openapi(request: Request) -> Response:
    from thinkube.serving.openapi import document

    return reply(document(request.app.state.runtime))


async def docs(request: Request) -> Response:
    from thinkube.serving.page import render

    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    return HTMLResponse(render(request.app.state.runtime), headers={"content-security-policy": policy})


def _endpoint(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Answer a refusal as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            return reply(error.body(trace_id.get() or ""), error.headers, error.status)
        except ClientGone:
            return Response(status_code=499)

    return answer


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"There is no {request.url.path} here. /docs lists what there is.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    refusal = Refused(error.status_code, "not_found" if error.status_code == 404 else "refused",
                      messages.get(error.status_code, str(error.detail)))  # fmt: skip
    return reply(refusal.body(trace_id.get() or ""), error.headers, error.status_code)


class Observed:
    """Gives each request a trace id and one line in the log, and ends connections while draining."""

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = _trace(scope)
        token, nobody = trace_id.set(trace), caller.set(None)
        start = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-trace-id", trace.encode())]
                if self._runtime.draining:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Exception as error:  # noqa: BLE001 - the outermost boundary: shown with its id in the log
            event("the runtime failed", logging.ERROR, raised=error)
            if status == 0:
                refusal = Refused(500, "internal_error", f"The log has the details under the id {trace}.")
                await reply(refusal.body(trace), status=500)(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - start
            self._runtime.metrics.count(scope, status, seconds)
            if scope["path"] not in QUIET or status >= 400:
                milliseconds = round(seconds * 1000, 2)
                event("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)
            trace_id.reset(token)
            caller.reset(nobody)


def _trace(scope: Scope) -> str:
    """The caller's trace id where it sends a W3C `traceparent`, else a new one."""
    for name, value in scope["headers"]:
        if name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value.decode("latin-1"))):
            return match[1]
    return os.urandom(16).hex()
