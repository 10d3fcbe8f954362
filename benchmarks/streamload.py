"""Streams, each begun when the one before it on its connection has ended:
`python -m benchmarks.streamload JSON`, see `StreamLoad`.

It runs in a process of its own, on plain sockets, to take little of the processor from what it
measures, and prints what became of each stream as JSON.
"""

import gc
import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client import HOST
from benchmarks.errors import BenchmarkError
from benchmarks.eventstream import EventStream
from benchmarks.paths import REPOSITORY

_PATIENCE_SECONDS = 30.0
_MARGIN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class StreamLoad:
    """A load of streams of the model in waiting/models/ticker.py.

    Attributes:
        port: Where it goes, on this machine, to POST /invocations.
        connections: That are open, and so how many streams run at a time.
        seconds: How long streams are begun; the last ones get 30 s more.
        chunks: Of each stream.
        gap_seconds: From each chunk to the next.
    """

    port: int
    connections: int
    seconds: float
    chunks: int
    gap_seconds: float

    def body(self) -> dict[str, Any]:
        """What is posted for a stream."""
        row = {"chunks": self.chunks, "seconds": self.gap_seconds}
        return {"dataframe_records": [row], "stream": True}


@dataclass(frozen=True, slots=True)
class Stream:
    """What became of one stream.

    Attributes:
        whole: Whether all its chunks came, in order, and then its end.
        said: The status and what else shows why it isn't whole.
        seconds: From the request to its end.
        latencies: Of each chunk: seconds from the model's yielding it to its having been read.
    """

    whole: bool
    said: str
    seconds: float
    latencies: list[float]


def run_streams(load: StreamLoad) -> list[Stream]:
    """Run the load in a process of its own, and return all streams.

    Raises:
        BenchmarkError: it failed.
    """
    command = [sys.executable, "-m", "benchmarks.streamload", json.dumps(asdict(load))]
    patience = load.seconds + _PATIENCE_SECONDS + _MARGIN_SECONDS
    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=patience
    )
    if result.returncode != 0:
        raise BenchmarkError(f"the load of streams failed:\n{result.stderr.strip()}")
    return [Stream(**stream) for stream in json.loads(result.stdout)]


class _Connection:
    """A connection, and the stream that is on it."""

    __slots__ = ("answer", "began", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=_PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = EventStream()
        self.began = 0.0

    def begin(self, message: bytes) -> None:
        self.answer = EventStream()
        self.began = time.monotonic()
        self.socket.sendall(message)


class _Generator:
    """Begins streams, and reads them."""

    def __init__(self, load: StreamLoad) -> None:
        self._load = load
        self._message = _message(json.dumps(load.body()).encode())
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self.streams: list[Stream] = []

    def run(self) -> None:
        """Begin streams until the time is over, and wait for their ends."""
        for connection in [self._connect() for _ in range(self._load.connections)]:
            connection.begin(self._message)
        end = time.monotonic() + self._load.seconds
        deadline = end + _PATIENCE_SECONDS
        while self._connections and (now := time.monotonic()) < deadline:
            for descriptor, _ in self._epoll.poll(deadline - now):
                self._receive(self._connections[descriptor], end)
        for connection in self._connections.values():
            self._note(connection, time.monotonic())

    def _receive(self, connection: _Connection, end: float) -> None:
        try:
            received = connection.socket.recv(65536)
        except ConnectionResetError:
            received = b""
        now = time.monotonic()
        answer = connection.answer
        answer.feed(received, now)
        if received and not answer.ended:
            return
        self._note(connection, now)
        if answer.closes or not received:
            self._disconnect(connection)
            if now < end:
                self._connect().begin(self._message)
        elif now < end:
            connection.begin(self._message)
        else:
            self._disconnect(connection)

    def _note(self, connection: _Connection, now: float) -> None:
        answer = connection.answer
        self.streams.append(
            Stream(
                answer.whole(self._load.chunks),
                answer.said(),
                now - connection.began,
                answer.latencies,
            )
        )

    def _connect(self) -> _Connection:
        connection = _Connection(self._load.port)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        return connection

    def _disconnect(self, connection: _Connection) -> None:
        self._epoll.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _message(body: bytes) -> bytes:
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _main(load: StreamLoad) -> None:
    # A collection would hold up what is to be read.
    gc.disable()
    generator = _Generator(load)
    generator.run()
    json.dump([asdict(stream) for stream in generator.streams], sys.stdout)


if __name__ == "__main__":
    _main(StreamLoad(**json.loads(sys.argv[1])))
