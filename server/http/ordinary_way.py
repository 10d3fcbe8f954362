"""The way that is left where aiohttp is not as `server.http.short_way` has it.

Everything goes through aiohttp, and is bounded by public means: the head of a request in time, and
as a whole as soon as it has arrived. Until then, as much of a head is kept as aiohttp takes, which
is more.
"""

import asyncio
from typing import Any

from aiohttp import web

from server.errors import TooMuchInFlight
from server.http.clients import Clients
from server.http.connection import Connection
from server.http.heads import END_OF_HEAD


class OrdinaryWay(Connection):
    """A connection that leaves every request to aiohttp.

    Args:
        manager: The server that it came to.
        clients: What it shares with all others.
        options: aiohttp's own.
    """

    __slots__ = ("_head_timer", "_head_whole")

    def __init__(self, manager: web.Server, clients: Clients, **options: Any) -> None:
        super().__init__(manager, clients, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        # Whether it has arrived that began last; who handles the request has not been called yet.
        self._head_whole = False

    @property
    def idle(self) -> bool:
        # The head that has begun may be whole.
        return self._head_timer is None and super().idle

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._content is None and not self._deaf:
            self._note_head(data)
        super().data_received(data)

    def request_begun(self, request: web.BaseRequest) -> None:
        self._stop_head_timer()
        self._head_whole = False
        super().request_begun(request)

    def request_answered(self) -> None:
        # By public means it can't be known when it is written.
        self.request_written()

    def _note_head(self, data: bytes) -> None:
        if self._head_timer is None:
            # An empty line behind a body begins no head (RFC 9112, section 2.2).
            if not data.strip(b"\r\n"):
                return
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(self.limits.head_seconds, self._give_up_head)
        self._head_whole = self._head_whole or END_OF_HEAD in data
        try:
            if not self._head_whole:
                self._buffers.resize(self._arrived + len(data))
        except TooMuchInFlight:
            self._give_up_head()
        else:
            self._note_arrived(self._arrived + len(data))

    def _give_up_head(self) -> None:
        self._clients.ended["head"] += 1
        self._deaf = True
        self.hang_up()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
