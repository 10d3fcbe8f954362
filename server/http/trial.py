"""Whether the installed aiohttp is as the short way has it, tried at the start.

`server.http.short_way` overrides and reads private parts of aiohttp, which may change in any
release. So that releases can be taken as they come, the parts are looked for by name, and then a
few requests are answered over a real connection.
"""

import asyncio
import inspect
import socket
from collections.abc import Callable, Mapping

from aiohttp import StreamReader, web
from multidict import CIMultiDictProxy

from server.http.budget import Budget
from server.http.clients import Clients, Limits
from server.http.connection import Connection
from server.http.invocations import PATH, Prediction
from server.serving.calls import Answered
from server.worker.frames import Answer, Outcome

_SECONDS = 5.0

_HANDLER_PARTS = (
    "_buffer_paused",
    "_keepalive_timeout",
    "_loop",
    "_messages",
    "_next_keepalive_close_time",
    "_parser",
    "_pause_transport_reading",
    "_paused",
    "_reading_paused",
    "_waiter",
    "force_close",
    "transport",
)
_OVERRIDDEN: Mapping[str, tuple[str, ...]] = {
    "_process_keepalive": ("self",),
    "_resume_transport_reading": ("self",),
    "connection_lost": ("self", "exc"),
    "connection_made": ("self", "transport"),
    "data_received": ("self", "data"),
    "handle_error": ("self", "request", "status", "exc", "message"),
    "log_access": ("self", "request", "response", "time"),
    "pause_writing": ("self",),
    "resume_writing": ("self",),
    "shutdown": ("self", "timeout"),
}
_MESSAGE_PARTS = ("headers", "method", "path", "should_close", "upgrade", "version")
_BODY_PARTS = ("_buffer", "exception", "is_eof", "read_nowait", "total_bytes")


async def short_way_problem() -> str | None:
    """Why the short way can't be taken, in one line; None if it can."""
    try:
        # Here, as what it imports may be gone.
        from aiohttp.http import RawRequestMessage

        from server.http.short_way import ShortWay

        return (
            _missing(web.RequestHandler, _HANDLER_PARTS)
            or _missing(RawRequestMessage, _MESSAGE_PARTS)
            or _missing(StreamReader, _BODY_PARTS)
            or _taken(ShortWay)
            or _changed()
            or await _converse(ShortWay)
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _missing(kind: type, names: tuple[str, ...]) -> str | None:
    missing = [name for name in names if not hasattr(kind, name)]
    return f"{kind.__name__} has no {', '.join(missing)}" if missing else None


def _taken(short_way: type[Connection]) -> str | None:
    """Names that are the server's own, and aiohttp's now, too."""
    own = {name for kind in (Connection, short_way) for name in vars(kind)["__slots__"]}
    taken = sorted(name for name in own if hasattr(web.RequestHandler, name))
    return f"RequestHandler has {', '.join(taken)} of its own" if taken else None


def _changed() -> str | None:
    for name, expected in _OVERRIDDEN.items():
        parameters = tuple(inspect.signature(getattr(web.RequestHandler, name)).parameters)
        if parameters != expected:
            return f"RequestHandler.{name} takes {', '.join(parameters)}"
    return None


class _Echo:
    """Answers each prediction with its body."""

    paths = frozenset((PATH,))
    streams = True

    def __init__(self) -> None:
        self.answered = 0

    def takes(self, _headers: "CIMultiDictProxy[str]", _size: int) -> bool:
        return True

    def submit(self, headers: "CIMultiDictProxy[str]", body: bytes, _client: bytes) -> Prediction:
        loop = asyncio.get_running_loop()
        answered: Answered = loop.create_future()
        loop.call_soon(answered.set_result, (Answer(0, 200, Outcome.OK, body), ""))
        return Prediction("", 0.0, answered, headers)

    def finish(self, prediction: Prediction, later: Callable[[bytes], None]) -> bytes | None:
        self.answered += 1
        given, _ = prediction.answered.result()
        assert isinstance(given, Answer)
        body = given.body
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        if self.answered % 2:
            return answer
        asyncio.get_running_loop().call_soon(later, answer)
        return None


async def _converse(short_way: Callable[..., Connection]) -> str | None:
    """Have requests answered over a connection, the short way and the ordinary one in turn."""
    loop = asyncio.get_running_loop()
    echo = _Echo()
    server = web.Server(_answer_ordinary)
    clients = Clients(Limits(connections=1, head_seconds=_SECONDS), Budget(0))
    ours, theirs = socket.socketpair()
    async with asyncio.timeout(_SECONDS):
        await loop.connect_accepted_socket(
            lambda: short_way(server, clients, echo, loop=loop, access_log=None), ours
        )
        reader, writer = await asyncio.open_connection(sock=theirs)
        try:
            wrong = await _ask(reader, writer)
        finally:
            writer.close()
            await server.shutdown(_SECONDS)
    if wrong is not None:
        return wrong
    # Of what follows another closely, the ordinary way may have got both.
    return None if echo.answered >= 3 else "predictions go the ordinary way"


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
    """Send requests in several ways; each answer must be what was sent."""
    for request in (
        ((PATH, b"1"),),
        ((PATH, b"2"),),
        (("/other", b"3"),),
        ((PATH, b"4"),),
        ((PATH, b"5"), (PATH, b"6"), ("/other", b"7")),
    ):
        for path, body in request:
            head = f"POST {path} HTTP/1.1\r\nHost: trial\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode()[:9])
            await asyncio.sleep(0)
            writer.write(head.encode()[9:] + body)
            await asyncio.sleep(0)
        for _, body in request:
            if (answer := await _answer(reader)) != body:
                return f"{body!r} was answered with {answer!r}"
    return None


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    return await reader.readexactly(int(length.split()[0]))


async def _answer_ordinary(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=await request.read())
