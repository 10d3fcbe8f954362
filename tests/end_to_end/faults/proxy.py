"""A TCP proxy that stands in front of a server on this machine and spoils what passes."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_METHODS = (b"GET ", b"POST ", b"PATCH ", b"PUT ", b"DELETE ")
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody listens, and whoever was connected is cut off."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Every request is answered with a reset connection."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Requests are read and never answered."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Requests are passed on after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Trickle:
    """A byte of an answer comes after so many seconds, and the next after as many again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is closed after so many bytes of an answer."""

    after: int


@dataclass(frozen=True, slots=True)
class Garble:
    """Each byte of the answers is another one, line breaks apart."""


@dataclass(frozen=True, slots=True)
class Say:
    """Every request is answered with these bytes, and the connection closed."""

    answer: bytes


Fault = Refuse | Drop | Silence | Delay | Trickle | Cut | Garble | Say

# Lines stay lines: whoever reads them finds out at once.
_GARBLED = bytes(byte if byte in b"\r\n" else byte ^ 0x55 for byte in range(256))


def http(status: str, body: bytes = b"", *headers: str) -> Say:
    """Every request is answered with this status, these headers and this body."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return Say("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


class Proxy:
    """Passes bytes on until it is given a fault.

    Args:
        target: The port to pass on to.
        certificate: Speak TLS with clients, and show them this certificate: a file in PEM, with
            the key.
    """

    def __init__(self, target: int, certificate: Path | None = None) -> None:
        self.port = 0
        self._target = target
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self._fault: Fault | None = None
        self._only = b""
        self._listener: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[Any] | None] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def suffer(self, fault: Fault, only: bytes = b"") -> None:
        """Do this to everything from now on, or to requests with `only` in their first line."""
        self._call(self._set(fault, only))

    def heal(self) -> None:
        """Pass everything on again."""
        self._call(self._set(None, b""))

    def show(self, certificate: Path) -> None:
        """Show clients this certificate from now on; whoever is connected is cut off."""
        self._call(self._set_certificate(certificate))

    def close(self) -> None:
        """Close everything."""
        self._call(self._set(Refuse(), b""))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fault_of(self, request: bytes, current: Fault | None) -> Fault | None:
        """What to do to a piece of a request, if it begins one; else what was done before."""
        if not self._only:
            return self._fault
        if request.startswith(_METHODS):
            return self._fault if self._only in request.partition(b"\r\n")[0] else None
        return current

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _set(self, fault: Fault | None, only: bytes) -> None:
        self._fault, self._only = fault, only
        if isinstance(fault, Refuse):
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            await self._cut_off()
        elif self._listener is None:
            await self._listen()

    async def _set_certificate(self, certificate: Path) -> None:
        assert self._tls is not None
        self._tls.load_cert_chain(certificate)
        await self._cut_off()

    async def _cut_off(self) -> None:
        for connection in self._connections:
            connection.reset()
        tasks = filter(None, self._connections.values())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections[connection] = asyncio.current_task()
        try:
            await connection.run(self._target)
        finally:
            del self._connections[connection]


class _Connection:
    """One client's connection and the one behind it."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._fault: Fault | None = None
        self._answered = 0

    def reset(self) -> None:
        """Reset the client's connection (RST rather than FIN, see socket(7), SO_LINGER)."""
        client = self._writer.get_extra_info("socket")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def run(self, target: int) -> None:
        """Pass bytes in both directions until either side has closed."""
        answers: asyncio.Task[None] | None = None
        behind: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError):
            try:
                reader, behind = await asyncio.open_connection("127.0.0.1", target)
                answers = asyncio.create_task(self._answers(reader))
                await self._requests(behind)
            finally:
                self._writer.close()
                if behind is not None:
                    behind.transport.abort()
                if answers is not None:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)

    async def _requests(self, behind: asyncio.StreamWriter) -> None:
        while piece := await self._reader.read(_PIECE):
            self._fault = self._proxy.fault_of(piece, self._fault)
            self._answered = 0
            match self._fault:
                case Drop():
                    self.reset()
                    return
                case Say(answer):
                    self._writer.write(answer)
                    return
                case Silence():
                    continue
                case Delay(seconds):
                    await asyncio.sleep(seconds)
            behind.write(piece)

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(_PIECE):
            match self._fault:
                case Cut(after) if self._answered + len(piece) > after:
                    self._writer.write(piece[: max(0, after - self._answered)])
                    break
                case Trickle(seconds):
                    await self._trickle(piece, seconds)
                    continue
                case Garble():
                    piece = piece.translate(_GARBLED)
            self._writer.write(piece)
            await self._writer.drain()
            self._answered += len(piece)
        self._writer.close()

    async def _trickle(self, piece: bytes, seconds: float) -> None:
        for byte in piece:
            await asyncio.sleep(seconds)
            self._writer.write(bytes([byte]))
            await self._writer.drain()
