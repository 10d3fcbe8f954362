"""A client of HTTP that keeps to none of its rules."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

_SECONDS = 20.0


class RawClient(asyncio.Protocol):
    """A connection that sends whatever bytes it is told to, and keeps what came before a reset."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._ended = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int, first: bytes = b"") -> "RawClient":
        """Connect to a port of this machine.

        Args:
            first: Sent in the same instant; a server in this loop finds it as it accepts.
        """
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(first)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(cls, sock=sock)
        client._transport = transport
        return client

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def __aenter__(self) -> "RawClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def transport(self) -> asyncio.Transport:
        """The open connection."""
        assert self._transport is not None
        return self._transport

    @property
    def unread(self) -> int:
        """How many bytes have come that no answer was made of yet."""
        return len(self._received)

    def close(self) -> None:
        """Hang up."""
        self.transport.close()

    def shut_down(self) -> None:
        """Send nothing more, and go on reading."""
        self.transport.write_eof()

    async def send(self, data: bytes) -> None:
        """Send, as far as the server still reads."""
        if not self._ended:
            self.transport.write(data)
        await self._writable.wait()

    async def post(self, body: bytes, *headers: str, length: int | None = None) -> None:
        """Send a request to /invocations with a Content-Length of `length`, or the true one."""
        head = [
            "POST /invocations HTTP/1.1",
            "Host: test",
            "Content-Type: application/json",
            f"Content-Length: {len(body) if length is None else length}",
            *headers,
        ]
        await self.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    async def answer(self) -> tuple[int, bytes]:
        """Read one answer: its status, 0 if the connection is closed without one, and body."""
        status, _, body = await self.whole_answer()
        return status, body

    async def whole_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer: status, headers with names in lower case, and body."""
        try:
            head = await self._read_until(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            pairs = (line.partition(":") for line in lines)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await self._read(int(headers.get("content-length", 0)))
        except EOFError:
            return 0, {}, b""
        return int(first.split()[1]), headers, body

    async def closed(self) -> bool:
        """Whether the server closes the connection, and sends nothing before that."""
        with contextlib.suppress(EOFError):
            await self._read(1)
            return False
        return True

    async def _read_until(self, end: bytes) -> bytes:
        await self._wait_for(lambda: end in self._received)
        return await self._read(self._received.index(end) + len(end))

    async def _read(self, size: int) -> bytes:
        await self._wait_for(lambda: len(self._received) >= size)
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_SECONDS):
            while not condition():
                if self._ended:
                    raise EOFError
                self._news.clear()
                await self._news.wait()
