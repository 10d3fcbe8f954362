"""The short way for predictions, past aiohttp's objects and tasks.

It rests on private parts of aiohttp; `server.http.trial` tries at the start whether they are as
expected.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from server.errors import TooMuchInFlight
from server.http.budget import UNCOUNTED, Hold
from server.http.clients import Clients
from server.http.connection import Connection
from server.http.errors import serving_error_response
from server.http.events import may_want
from server.http.heads import END_OF_HEAD, MAX_HEAD_BYTES, refuse_large_head
from server.http.invocations import Prediction
from server.http.wire import written

# What a client whose head is refused gets to finish sending, so that it reads the answer.
_LINGERING_SECONDS = 5.0
# Transports tell when little is left to send, and not when nothing is.
_PAUSE_SECONDS = 0.02


class Predictions(Protocol):
    """Who answers predictions; see `server.http.invocations.Invocations`."""

    @property
    def paths(self) -> frozenset[str]:
        """The paths that predictions are posted to."""

    @property
    def streams(self) -> bool:
        """Whether the model can answer in chunks."""

    def takes(self, headers: "CIMultiDictProxy[str]", size: int) -> bool:
        """Whether `submit` takes a request with such headers and a body of so many bytes."""

    def submit(self, headers: "CIMultiDictProxy[str]", body: bytes, client: bytes) -> Prediction:
        """Have a request of a client answered whose body has arrived."""

    def finish(self, prediction: Prediction, later: Callable[[bytes], None]) -> bytes | None:
        """The whole answer, or None if `later` will get it."""


def _may_want_stream(body: StreamReader) -> bool:
    return may_want(b"".join(body._buffer))


class ShortWay(Connection):
    """A connection that answers predictions itself.

    aiohttp makes several objects and a task of each request. A prediction that has arrived whole
    needs none of them: it is answered from here, and aiohttp waits for the next request meanwhile.
    What it waits for is known here, too, so that heads are bounded in time and as a whole.

    Args:
        manager: The server that it came to.
        clients: What it shares with all others.
        predictions: Answers predictions; None to leave them to aiohttp.
        options: aiohttp's own.
    """

    __slots__ = (
        "_answering",
        "_head_bytes",
        "_head_end",
        "_head_timer",
        "_held_back",
        "_predictions",
        "_sending",
        "_written",
    )

    def __init__(
        self, manager: web.Server, clients: Clients, predictions: Predictions | None, **options: Any
    ) -> None:
        super().__init__(manager, clients, **options)
        self._predictions = predictions
        self._answering: Prediction | None = None
        # Done when an answer that takes time to write is written.
        self._written: asyncio.Future[None] | None = None
        # What came while a request was under way: answers go out in the order of the requests.
        self._held_back = bytearray()
        # What an answer takes as long as the client has not taken it.
        self._sending: Hold | None = None
        # Runs from the first byte of a head until the last.
        self._head_timer: asyncio.TimerHandle | None = None
        # Of a head that has arrived in part: how much, and the last of it.
        self._head_bytes = 0
        self._head_end = b""

    @property
    def idle(self) -> bool:
        return self._answering is None and super().idle

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_head_timer()
        self._sending = None
        self._held_back.clear()
        if self._answering is not None:
            self._answering.answered.cancel()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close the connection, after the answer that is being packed or sent.

        Args:
            timeout: Seconds to wait for it at most.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if self._written is not None:
                    await asyncio.wait((self._written,))
                while self._is_sending():  # noqa: ASYNC110
                    await asyncio.sleep(_PAUSE_SECONDS)
        await super().shutdown(timeout)

    def _is_sending(self) -> bool:
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def resume_writing(self) -> None:
        self._sending = None
        super().resume_writing()

    def request_begun(self, request: web.BaseRequest) -> None:
        # What came between its head and now was its body.
        self._stop_head_timer()
        super().request_begun(request)
        self._note_arrived(self._arrived + len(self._held_back))
        if self._held_back and not request.content.is_eof():
            self._take_held_back()

    def request_written(self) -> None:
        super().request_written()
        # Of requests that came in one piece, aiohttp keeps those that are left.
        self._note_arrived(len(self._held_back) + (self._last_piece if self._messages else 0))
        if self._messages:
            # Another one stood behind it.
            self._under_way = True
        elif self._held_back:
            self._take_held_back()

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        super().log_access(request, response, time)
        if self._under_way:
            self.request_written()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if data and (self._answering is not None or self._comes_behind()):
            self._hold_back(data)
            return
        if self._answering is not None:
            return
        waiter = self._waiter
        if waiter is None or waiter.done() or self._reading_paused or self._paused:
            super().data_received(data)
            if self._messages:
                self._under_way = True
                self._stop_head_timer()
            elif self._content is None:
                # aiohttp is about to wait: for a new client's first request, or for the next.
                self._note_head(data)
            return
        if self._head_bytes + len(data) > MAX_HEAD_BYTES and not self._head_ends_in(data):
            self._refuse_head(refuse_large_head())
            return
        # Not told of what comes, aiohttp's own loop sleeps on.
        self._waiter = None
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if not self._messages:
            self._note_head(data)
            return
        self._stop_head_timer()
        if self._predictions is None or not self._predict(self._predictions):
            self._under_way = True
            waiter.set_result(None)

    def _predict(self, predictions: Predictions) -> bool:
        """Have the one request that has arrived answered, if it is a whole prediction."""
        if len(self._messages) > 1:
            return False
        message, payload = self._messages[0]
        if (
            not isinstance(message, RawRequestMessage)
            or message.path not in predictions.paths
            or message.method != hdrs.METH_POST
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or not payload.is_eof()
            or payload.exception() is not None
            # It would go on with what has come behind, as soon as this body is read.
            or self._reading_paused
            or not predictions.takes(message.headers, payload.total_bytes)
            # Streams take time to write; what reads an empty body has no buffer.
            or (predictions.streams and payload.total_bytes > 0 and _may_want_stream(payload))
        ):
            return False
        self._messages.clear()
        assert self._parser is not None
        self._parser.message_consumed()
        self._gateway.requests_count += 1
        self._answering = predictions.submit(message.headers, payload.read_nowait(), self.client)
        self._answering.answered.add_done_callback(self._finish)
        return True

    def _finish(self, answered: "asyncio.Future[Any]") -> None:
        if answered.cancelled() or self.transport is None:
            self._answering = None
            return
        assert self._answering is not None
        assert self._predictions is not None
        answer = self._predictions.finish(self._answering, self._write_late)
        if answer is None:
            self._written = self._loop.create_future()
        else:
            self._write(answer)

    def _write(self, answer: bytes) -> None:
        self._answering = None
        if self.transport is None:
            return
        self.transport.write(answer)
        if self._paused:
            self._sending = self._clients.budget.keep(self.transport.get_write_buffer_size())
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._clients.note_idle(self)
        if self._deaf:
            self.hang_up()
        elif self._held_back:
            self._take_held_back()

    def _write_late(self, answer: bytes) -> None:
        assert self._written is not None
        self._written.set_result(None)
        self._written = None
        self._write(answer)

    def _head_ends_in(self, data: bytes) -> bool:
        """Whether the head that has begun can end with `data` and keep within the limit."""
        room = max(0, MAX_HEAD_BYTES - self._head_bytes)
        return END_OF_HEAD in self._head_end + data[:room]

    def _note_head(self, data: bytes) -> None:
        """Note a part of a head that is to end in time."""
        if self._head_timer is None and not data.strip(b"\r\n"):
            # An empty line behind a body is none (RFC 9112, section 2.2).
            return
        self._head_bytes += len(data)
        self._head_end = (self._head_end + data[-3:])[-3:]
        if self._head_timer is None:
            self._head_timer = self._loop.call_later(self.limits.head_seconds, self._give_up_head)
        try:
            self._buffers.resize(self._head_bytes)
        except TooMuchInFlight as error:
            self._refuse_head(serving_error_response(error))

    def _give_up_head(self) -> None:
        self._clients.ended["head"] += 1
        self.force_close()

    def _refuse_head(self, refusal: web.Response) -> None:
        self._stop_head_timer()
        self._deaf = True
        if self.transport is not None:
            self.transport.write(written(refusal, close=True))
            self.transport.write_eof()
        self._head_timer = self._loop.call_later(_LINGERING_SECONDS, self.force_close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
            self._head_bytes = 0
            self._head_end = b""
            self._note_arrived(0)

    def _comes_behind(self) -> bool:
        """Whether a request is under way on aiohttp's way, and what comes now is not its body."""
        return self._under_way and (self._content is None or self._content.is_eof())

    def _hold_back(self, data: bytes) -> None:
        """Keep what comes behind a request until that is answered; where there is no room for it,
        hang up then."""
        try:
            self._buffers.resize(self._arrived + len(data))
        except TooMuchInFlight:
            self._clients.ended["pipelining"] += 1
            self._deaf = True
            self._held_back.clear()
            self._note_arrived(0)
            if self._answering is None:
                self.close()
        else:
            self._arrived += len(data)
            self._held_back += data
            self._pause_transport_reading()

    def _take_held_back(self) -> None:
        """Go on with what was held back, up to the end of a request: aiohttp would keep what
        stands behind that, where nobody counts it, and copy it for each."""
        while self._held_back and self._answering is None and not self._comes_behind():
            piece = bytes(self._held_back[:UNCOUNTED])
            del self._held_back[:UNCOUNTED]
            self.body_read(len(piece))
            self.data_received(piece)
        if not (self._reading_paused or self._buffer_paused):
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if not self._held_back:
            super()._resume_transport_reading()

    def _process_keepalive(self) -> None:
        if self._answering is not None:
            # Not idle: it is the model that takes its time.
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()
