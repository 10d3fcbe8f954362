"""The way that is left where aiohttp is not as `server.http.short_way` has it.

Everything goes through aiohttp, and is bounded by public means: the head of a request in time, and
as a whole as soon as it has arrived. Until then, as much of a head is kept as aiohttp takes, which
is more.
"""

import asyncio
from typing import Any

from aiohttp import web

from server.http.connection import Connection, Limits


class OrdinaryWay(Connection):
    """A connection that leaves every request to aiohttp.

    Args:
        manager: The server that it came to.
        limits: Its limits.
        options: aiohttp's own.
    """

    __slots__ = ("_head_timer", "_open_transport", "_within_request")

    def __init__(self, manager: web.Server, limits: Limits, **options: Any) -> None:
        super().__init__(manager, limits, **options)
        self._open_transport: asyncio.BaseTransport | None = None
        self._within_request = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_transport = transport
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._open_transport = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        waits = not self._within_request and self._head_timer is None and not self._deaf
        # An empty line behind a body begins no head (RFC 9112, section 2.2).
        if waits and data.strip(b"\r\n"):
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self._client_limits.head_seconds, self._hang_up)
        super().data_received(data)

    def request_begun(self) -> None:
        self._stop_head_timer()
        self._within_request = True

    def request_answered(self) -> None:
        self._within_request = False

    def _hang_up(self) -> None:
        if self._open_transport is not None:
            self._open_transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
