"""aiohttp's server, with this server's errors, limits and short way to predictions."""

import asyncio
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from server.http_errors import error_response
from server.invocations import Invocations
from server.request_ids import request_id
from server.settings import Settings

# Longer than proxies keep idle connections.
_KEEPALIVE_SECONDS = 75.0
# A connection whose shutdown is not held up by a model any more gets this long to read its answer.
_SHORTEST_SHUTDOWN_SECONDS = 1.0
# What a client whose body is refused gets to finish sending, so that it reads the answer.
_LINGERING_SECONDS = 5.0

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)

log = structlog.get_logger("server.http")


class Runner(web.AppRunner):
    """Runs the application, with predictions answered before its routing.

    Args:
        app: The application.
        invocations: Answers predictions.
        settings: Limits, and whether to log each request.
    """

    __slots__ = ("_invocations", "_settings")

    def __init__(self, app: web.Application, invocations: Invocations, settings: Settings) -> None:
        super().__init__(app, shutdown_timeout=settings.drain_timeout_seconds)
        self._invocations = invocations
        self._settings = settings

    async def finish(self, deadline: float) -> None:
        """Close the connections whose requests are answered, and the others at the deadline.

        Args:
            deadline: Loop time.
        """
        left = deadline - asyncio.get_running_loop().time()
        self._shutdown_timeout = max(left, _SHORTEST_SHUTDOWN_SECONDS)
        await self.cleanup()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        return _Server(
            self._invocations.before(server.request_handler),
            request_factory=server.request_factory,
            max_connections=self._settings.max_connections,
            head_seconds=self._settings.request_timeout_seconds,
            access_log=log if self._settings.access_log else None,
            access_log_class=_AccessLog,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
        )


class _Server(web.Server):
    def __init__(
        self, handler: Any, *, max_connections: int, head_seconds: float, **options: Any
    ) -> None:
        request_factory = options.pop("request_factory")
        super().__init__(handler, request_factory=request_factory)
        self.max_connections = max_connections
        self.head_seconds = head_seconds
        self._options = options

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


class _Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_begun", "_head_seconds", "_refused")

    def __init__(self, manager: _Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._refused = False
        self._head_seconds = manager.head_seconds
        # Done as soon as the head that has begun to arrive is whole.
        self._begun: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        manager = self._manager
        assert isinstance(manager, _Server)
        if len(manager._connections) < manager.max_connections:
            super().connection_made(transport)
            return
        self._refused = True
        body = error_response(503, "too many connections").body
        assert isinstance(body, bytes)
        cast(asyncio.Transport, transport).write(_TOO_MANY % (len(body), body))
        transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and waiter is not self._begun and not waiter.done():
            self._begun = waiter
            self._loop.call_later(self._head_seconds, self._end_slow_head, waiter)

    def _end_slow_head(self, waiter: "asyncio.Future[None]") -> None:
        if not waiter.done():
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._refused:
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never reached a handler, in the shape of every other error."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has been begun already")
        if status < 500:
            reason = exc.message if isinstance(exc, HttpProcessingError) else str(exc)
            log.info("request_malformed", error=reason.strip().splitlines()[0] if reason else "")
            response = error_response(status, "this is not an HTTP request that can be understood")
        else:
            log.error("request_crashed", exc_info=exc)
            response = error_response(status, "internal error; the server's log says more")
        response.force_close()
        return response


class _AccessLog(AbstractAccessLogger):
    """One event for each request, where ACCESS_LOG asks for it."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        log.info(
            "request",
            method=request.method,
            path=request.path,
            request_id=request_id(request),
            status=response.status,
            seconds=round(time, 6),
            bytes_sent=response.body_length,
            remote=request.remote,
        )
