"""A client's connection: aiohttp's, with limits, by public means only."""

import asyncio
from typing import Any, cast

import structlog
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from server.http.budget import Hold
from server.http.clients import Clients, Limits
from server.http.errors import error_response
from server.http.heads import MAX_HEAD_BYTES, MAX_HEADERS, refuse_large_head
from server.http.peers import client_of
from server.http.wire import written

log = structlog.get_logger("server.http")


def discard_body(request: web.BaseRequest) -> None:
    """Have nobody read the body of a request."""
    assert isinstance(request.protocol, Connection)
    request.protocol.discard_body()


class Connection(web.RequestHandler):
    """One client's connection.

    What it keeps before anyone has read it counts as bytes in flight.

    Args:
        manager: The server that it came to.
        clients: What it shares with all others.
        options: aiohttp's own.

    Attributes:
        client: Who is at its other end, see `client_of`.
    """

    __slots__ = (
        "_arrived",
        "_buffers",
        "_clients",
        "_content",
        "_deaf",
        "_gateway",
        "_last_piece",
        "_open_transport",
        "_stall_timer",
        "_under_way",
        "_unsent",
        "_unwanted",
        "client",
    )

    def __init__(self, manager: web.Server, clients: Clients, **options: Any) -> None:
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
        self._clients = clients
        self._open_transport: asyncio.Transport | None = None
        # Whether what comes from here on is of no interest.
        self._deaf = False
        self.client = b""
        self._under_way = False
        # The body of the request that is under way, or whose body has not come whole yet, and how
        # much of that nobody is going to read.
        self._content: StreamReader | None = None
        self._unwanted: int | None = None
        # How much has come that nobody has read, or a little more, and what that takes.
        self._arrived = 0
        self._buffers = Hold(clients.budget)
        self._last_piece = 0
        # What was to be sent when it was last looked at; looked at while that is anything.
        self._unsent = 0
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def limits(self) -> Limits:
        """The limits of all connections."""
        return self._clients.limits

    @property
    def idle(self) -> bool:
        """Whether it has no request under way, nor an answer that is not sent."""
        return not self._under_way and self._content is None and not self.writing_paused

    @property
    def buffered(self) -> int:
        """How many bytes in flight it has that nobody has read."""
        return self._buffers.counted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)
        full = len(self._gateway.connections) >= self.limits.connections
        if full and not self._clients.make_room():
            self._deaf = True
            refusal = error_response(503, "too many connections")
            transport.write(written(refusal, close=True))
            transport.close()
            return
        self._open_transport = transport
        self.client = client_of(transport)
        # Writing is paused as long as anything is left to be sent.
        transport.set_write_buffer_limits(0)
        super().connection_made(transport)
        self._clients.note_idle(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._open_transport = None
        self._stop_stall_timer()
        self._note_arrived(0)
        self._clients.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        super().data_received(data)
        if data:
            self._last_piece = len(data)
            content = self._content
            if content is None:
                return
            if self._unwanted is None:
                self._note_arrived(self._arrived + len(data))
            elif not content.is_eof():
                self._drop(content)
            elif not self._under_way:
                # The rest of a body that nobody wanted has come.
                self._content = None

    def request_begun(self, request: web.BaseRequest) -> None:
        """Note that a request has reached its handler."""
        self._under_way = True
        self._content = request.content
        self._unwanted = None
        # Nothing is left of what came before the last piece.
        self._note_arrived(self._last_piece)

    def body_read(self, size: int) -> None:
        """Note that so much of the body was read, and is held by who has done so."""
        self._note_arrived(max(0, self._arrived - size))

    def discard_body(self) -> None:
        """Note that nobody is going to read the body of the request that is under way."""
        if self._content is not None:
            self._unwanted = 0
            self._drop(self._content)

    def request_answered(self) -> None:
        """Note that its handler has returned."""

    def request_written(self) -> None:
        """Note that its answer is sent."""
        self._under_way = False
        self._clients.note_idle(self)
        self._note_arrived(0)
        if self._content is not None and self._content.is_eof():
            self._content = None
        else:
            self.discard_body()

    def hang_up(self) -> None:
        """Close the connection, once what is being sent is sent."""
        if self._open_transport is not None:
            self._open_transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._open_transport is not None:
            self._unsent = self._open_transport.get_write_buffer_size()
            self._watch_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_stall_timer()

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

    def _note_arrived(self, size: int) -> None:
        self._arrived = size
        self._buffers.force(size)

    def _drop(self, content: StreamReader) -> None:
        """Drop what has come of a body that nobody is going to read."""
        # Who waits for it is woken by what comes, and must not be asked before.
        if content.total_bytes != self._unwanted and content.exception() is None:
            self._unwanted = content.total_bytes
            self.body_read(len(content.read_nowait()))

    def _watch_progress(self) -> None:
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self.limits.write_seconds, self._end_if_stalled)

    def _end_if_stalled(self) -> None:
        if self._open_transport is None:
            return
        unsent = self._open_transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            self._watch_progress()
        else:
            self._clients.ended["unread"] += 1
            self._open_transport.abort()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
