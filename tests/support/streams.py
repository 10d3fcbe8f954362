"""Streams of server-sent events, read as strictly as they are promised to be written.

The form is that of MLflow's AgentServer (mlflow/genai/agent_server/server.py) and of Databricks:
lines `data: {json}`, each followed by an empty one, and `data: [DONE]` as the last.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

DONE = b"data: [DONE]"
MEDIA_TYPE = "text/event-stream; charset=utf-8"

_SECONDS = 30.0


def events(body: bytes) -> list[Any]:
    """What a whole stream said, `[DONE]` aside; nothing else may stand in it."""
    *events, last, end = body.split(b"\n\n")
    assert (last, end) == (DONE, b""), body[-200:]
    return [_parsed(event) for event in events]


def failure(event: Any) -> tuple[str, str]:
    """The code and the message of an event that tells of an error."""
    assert event.keys() == {"error"}
    error = event["error"]
    assert error.keys() == {"error_code", "message"}
    return error["error_code"], error["message"]


class EventStream:
    """A connection that asks for streams and reads them event by event, and no faster.

    Attributes:
        status: That of the last answer.
        headers: Its, with names in lower case.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._reader = reader
        self._writer = writer
        self._data = b""

    @property
    def version(self) -> str | None:
        """The version that says it answers."""
        return self.headers.get("x-model-version")

    async def post(
        self, body: Any, *headers: str, path: str = "/invocations", version: str = "HTTP/1.1"
    ) -> None:
        """Send a request."""
        data = json.dumps(body).encode()
        head = [
            f"POST {path} {version}",
            "Host: test",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *headers,
        ]
        self._writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
        await _soon(self._writer.drain())

    async def begin(self) -> None:
        """Read the head of the answer."""
        head = (await _soon(self._reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def begin_well(self) -> None:
        """Read the head of the answer, which must be that of a stream."""
        await self.begin()
        assert self.status == 200, await self.body()
        assert self.headers["content-type"] == MEDIA_TYPE
        assert self.headers["cache-control"] == "no-cache"
        assert self.headers["x-request-id"]
        assert "content-length" not in self.headers
        assert "content-encoding" not in self.headers

    async def event(self) -> Any:
        """Read one event.

        Raises:
            EOFError: `[DONE]` was read, and the end of the answer after it.
        """
        event = await self._raw_event()
        if event == DONE:
            assert await self._piece() == b"", "there is something after [DONE]"
            assert self._data == b""
            raise EOFError
        return _parsed(event)

    async def rest(self) -> list[Any]:
        """Read all events that are left, and the end of the answer."""
        events = []
        try:
            while True:
                events.append(await self.event())
        except EOFError:
            return events

    async def body(self) -> bytes:
        """Read the body of an answer that is no stream."""
        return await _soon(self._reader.readexactly(int(self.headers["content-length"])))

    async def closed(self) -> bool:
        """Whether the server closes the connection, and sends nothing before that."""
        return await _soon(self._reader.read(1)) == b""

    def leave(self) -> None:
        """Hang up, whatever has come that was not read."""
        self._writer.transport.abort()

    async def _raw_event(self) -> bytes:
        while b"\n\n" not in self._data:
            piece = await self._piece()
            assert piece, f"the stream ends after {self._data!r}"
            self._data += piece
        event, _, self._data = self._data.partition(b"\n\n")
        return event

    async def _piece(self) -> bytes:
        """The next bytes of the body; none at its end."""
        if "transfer-encoding" not in self.headers:
            return await _soon(self._reader.read(64 * 1024))
        assert self.headers["transfer-encoding"] == "chunked"
        size = int(await _soon(self._reader.readuntil(b"\r\n")), 16)
        chunk = await _soon(self._reader.readexactly(size + 2))
        assert chunk.endswith(b"\r\n")
        return chunk[:-2]


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[EventStream]:
    """A connection to a port of this machine, until the block ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stream = EventStream(reader, writer)
    try:
        yield stream
    finally:
        stream.leave()


@asynccontextmanager
async def streaming(port: int, body: Any, *headers: str) -> AsyncIterator[EventStream]:
    """A stream that has begun well, until the block ends."""
    async with connection(port) as stream:
        await stream.post(body, *headers)
        await stream.begin_well()
        yield stream


async def ask(port: int, body: Any) -> tuple[int, Any]:
    """Ask a port of this machine for an answer that is no stream: its status and its JSON. Any
    number of these may wait at the same time."""
    async with connection(port) as connected:
        await connected.post(body)
        await connected.begin()
        return connected.status, json.loads(await connected.body())


async def _soon(coroutine: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(_SECONDS):
        return await coroutine


def _parsed(event: bytes) -> Any:
    assert event.startswith(b"data: "), event[:200]
    data = event.removeprefix(b"data: ")
    assert b"\n" not in data
    assert b"\r" not in data
    return json.loads(data)
