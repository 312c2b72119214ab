"""Connections that must not dawdle: a request's head has to arrive in time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def punctual(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol, closing a connection whose request line and headers take longer than this.

    Uvicorn itself limits only how long a connection may be idle between two requests.
    """

    class Punctual(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrived()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._expect()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._arrived()
            super().on_headers_complete()

        def _expect(self) -> None:
            self._arrived()
            self._late = self.loop.call_later(seconds, self._close)

        def _arrived(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close(self) -> None:
            self.transport.close()

    return Punctual
