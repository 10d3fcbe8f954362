"""A client's connection: aiohttp's, with limits, and with a short way for predictions."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from server.http.errors import error_response
from server.http.invocations import PATH, Invocations, Prediction

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
)

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


class Connection(RequestHandler):
    """One client's connection.

    aiohttp makes several objects and a task of each request. A prediction that has arrived whole
    needs none of them: it is answered from here, and aiohttp waits for the next request meanwhile.

    Args:
        manager: The server that it came to.
        limits: Its limits.
        invocations: Answers predictions; None to leave them to aiohttp.
    """

    __slots__ = (
        "_answering",
        "_head_timer",
        "_held_back",
        "_invocations",
        "_limits",
        "_refused",
        "_server",
    )

    def __init__(
        self,
        manager: web.Server,
        limits: Limits,
        invocations: Invocations | None,
        **options: Any,
    ) -> None:
        super().__init__(manager, **options)
        self._server = manager
        self._limits = limits
        self._invocations = invocations
        self._refused = False
        self._answering: Prediction | None = None
        # What came while a prediction was under way: answers go out in the order of the requests.
        self._held_back = bytearray()
        # Runs from the first byte of a head until the last.
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._server.connections) < self._limits.connections:
            super().connection_made(transport)
            return
        self._refused = True
        body = error_response(503, "too many connections").body
        assert isinstance(body, bytes)
        cast(asyncio.Transport, transport).write(_TOO_MANY % (len(body), body))
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._refused:
            return
        self._stop_head_timer()
        if self._answering is not None:
            self._answering.answered.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._answering is not None:
            if data:
                self._held_back += data
                self._pause_reading_for_buffer()
            return
        waiter = self._waiter
        if waiter is None or waiter.done() or self._reading_paused or self._paused:
            super().data_received(data)
            return
        # Not told of what comes, aiohttp's own loop sleeps on.
        self._waiter = None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if not self._messages:
            if data and self._head_timer is None:
                seconds = self._limits.head_seconds
                self._head_timer = self._loop.call_later(seconds, self.force_close)
            return
        self._stop_head_timer()
        if self._invocations is None or not self._predict(self._invocations):
            waiter.set_result(None)

    def _predict(self, invocations: Invocations) -> bool:
        """Have the one request that has arrived answered, if it is a whole prediction."""
        if len(self._messages) > 1:
            return False
        message, payload = self._messages[0]
        if (
            not isinstance(message, RawRequestMessage)
            or message.path != PATH
            or message.method != hdrs.METH_POST
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.compression
            or not payload.is_eof()
            or payload.exception() is not None
            # It would go on with what has come behind, as soon as this body is read.
            or self._reading_paused
            or not invocations.takes(message.headers, payload.total_bytes)
        ):
            return False
        self._messages.clear()
        assert self._parser is not None
        self._parser.message_consumed()
        self._server.requests_count += 1
        self._answering = invocations.submit(message.headers, payload.read_nowait())
        self._answering.answered.add_done_callback(self._write_answer)
        return True

    def _write_answer(self, answered: "asyncio.Future[Any]") -> None:
        prediction, self._answering = self._answering, None
        if answered.cancelled() or self.transport is None:
            return
        assert prediction is not None
        assert self._invocations is not None
        self.transport.write(self._invocations.finish(prediction))
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._held_back:
            data = bytes(self._held_back)
            self._held_back.clear()
            self._resume_reading_for_buffer()
            self.data_received(data)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _process_keepalive(self) -> None:
        if self._answering is not None:
            # Not idle: it is the model that takes its time.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

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
