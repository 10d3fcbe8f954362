"""One pipeline to several servers at once: each must answer the same."""

import re
import select
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.fuzz.requests import Pipeline

# Where nobody says that the end is reached, and all have said the same.
_QUIET_SECONDS = 0.1
_THE_LAST = "the-last"
# As `server.http.request_ids` makes them.
_OWN_ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]+")


class Answer(NamedTuple):
    """One answer: its headers without those that differ each time."""

    status: str
    headers: frozenset[tuple[str, str]]
    body: bytes


class Talk(NamedTuple):
    """What a server has answered, and whether it has closed the connection."""

    answers: tuple[Answer, ...]
    rest: bytes
    closed: bool


class _Connection:
    """One server's end of it."""

    def __init__(self, port: int, pipeline: Pipeline) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.left = [memoryview(piece) for piece in pipeline.pieces]
        self.received = bytearray()
        self.closed = False

    @property
    def done(self) -> bool:
        """Whether nothing more can come."""
        return self.closed or self.talk().is_last

    def talk(self) -> "_Read":
        return _read(bytes(self.received))

    def step(self) -> bool:
        """Send and receive what goes without waiting; return whether anything did."""
        return self._receive() | self._send()

    def _receive(self) -> bool:
        if self.closed:
            return False
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.received += data
        self.closed = not data
        return True

    def _send(self) -> bool:
        if self.closed or not self.left:
            return False
        try:
            sent = self.socket.send(self.left[0])
        except BlockingIOError:
            return False
        except ConnectionError:
            # What it has said before that is still to be read.
            self.left.clear()
            return True
        if sent == len(self.left[0]):
            del self.left[0]
        else:
            self.left[0] = self.left[0][sent:]
        return True


class _Read(NamedTuple):
    answers: tuple[Answer, ...]
    rest: bytes
    is_last: bool


def talk(ports: Sequence[int], pipeline: Pipeline, pause: float, patience: float) -> list[Talk]:
    """Send a pipeline to servers on this machine, and return what each has answered.

    Args:
        pause: Seconds between its pieces.
        patience: Seconds of silence, while they have answered differently.
    """
    connections = [_Connection(port, pipeline) for port in ports]
    try:
        _converse(connections, pause, patience)
        talks = []
        for connection in connections:
            read = connection.talk()
            talks.append(Talk(read.answers, read.rest, connection.closed))
        return talks
    finally:
        for connection in connections:
            connection.socket.close()


def _converse(connections: list[_Connection], pause: float, patience: float) -> None:
    moved = time.monotonic()
    while not all(connection.done for connection in connections):
        if sum(connection.step() for connection in connections):
            moved = time.monotonic()
            time.sleep(pause if any(connection.left for connection in connections) else 0)
            continue
        quiet = time.monotonic() - moved
        if quiet > patience:
            return
        said = {(c.talk().answers, c.closed) for c in connections}
        if quiet > _QUIET_SECONDS and len(said) == 1 and not any(c.left for c in connections):
            return
        select.select([c.socket for c in connections if not c.closed], [], [], 0.02)


def _read(data: bytes) -> _Read:
    """Cut what a server has sent into answers."""
    answers: list[Answer] = []
    is_last = False
    while b"\r\n\r\n" in data:
        head, _, rest = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in (f for f in fields if len(f) == 2)}
        length = int(headers.get("content-length", 0))
        if rest.startswith(b"HTTP/1."):
            # No body of this server begins so.
            length = 0
        # Less of it may have come; and nothing to a HEAD.
        is_last = headers.get("x-request-id") == _THE_LAST and len(rest) >= length
        for name in ("date", "server"):
            headers.pop(name, None)
        if _OWN_ID.fullmatch(headers.get("x-request-id", "")):
            headers["x-request-id"] = "its own"
        answers.append(Answer(status, frozenset(headers.items()), rest[:length]))
        data = rest[length:]
    return _Read(tuple(answers), data, is_last)
