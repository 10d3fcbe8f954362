"""A client's connection: aiohttp's, with limits, by public means only."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from server.http.errors import error_response
from server.http.heads import MAX_HEAD_BYTES, MAX_HEADERS, refuse_large_head
from server.http.peers import client_of
from server.http.wire import written

log = structlog.get_logger("server.http")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of connections.

    Attributes:
        connections: How many may be open.
        head_seconds: What the head of a request may take to arrive, once it has begun to.
    """

    connections: int
    head_seconds: float


class Connection(web.RequestHandler):
    """One client's connection.

    Args:
        manager: The server that it came to.
        limits: Its limits.
        options: aiohttp's own.

    Attributes:
        client: Who is at its other end, see `client_of`.
    """

    __slots__ = ("_client_limits", "_deaf", "_gateway", "client")

    def __init__(self, manager: web.Server, limits: Limits, **options: Any) -> None:
        super().__init__(
            manager,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
            # Bodies are unpacked by `server.http.unpacking`, which sees whether they are whole.
            auto_decompress=False,
            **options,
        )
        self._gateway = manager
        self._client_limits = limits
        # Whether what comes from here on is of no interest.
        self._deaf = False
        self.client = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._gateway.connections) < self._client_limits.connections:
            self.client = client_of(transport)
            super().connection_made(transport)
            return
        self._deaf = True
        refusal = error_response(503, "too many connections")
        cast(asyncio.Transport, transport).write(written(refusal, close=True))
        cast(asyncio.Transport, transport).close()

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            super().data_received(data)

    def request_begun(self) -> None:
        """Note that a request has reached its handler."""

    def request_answered(self) -> None:
        """Note that its handler has returned."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
        *_: Any,
        **__: Any,
    ) -> web.StreamResponse:
        """Answer what never reached a handler, in the shape of every other error."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has been begun already")
        if status < 500:
            reason = exc.message if isinstance(exc, HttpProcessingError) else str(exc)
            if isinstance(exc, LineTooLong) or reason.startswith("Too many headers"):
                response = refuse_large_head()
            else:
                first_line = reason.strip().partition("\n")[0]
                log.info("request_malformed", error=first_line)
                text = "this is not an HTTP request that can be understood"
                response = error_response(status, text)
        else:
            log.error("request_crashed", exc_info=exc)
            response = error_response(status, "internal error; the server's log says more")
        response.force_close()
        return response
