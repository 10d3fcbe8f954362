"""Open-loop load at a constant rate: `python -m benchmarks.openloop JSON`, see `OpenLoop`.

A rate of 0 closes the loop: each connection has one request under way at all times. Else requests
are due at fixed times, whether or not earlier ones were answered, and each latency counts
from the time at which its request was due: a server that stalls can't hide it by holding up the
client. It runs in a process of its own, on plain sockets, to take little of the processor from
what it measures.
"""

import gc
import itertools
import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from benchmarks.client import HOST
from benchmarks.errors import BenchmarkError
from benchmarks.paths import REPOSITORY
from benchmarks.samples import Samples

_CONNECT_SECONDS = 10.0
_MARGIN_SECONDS = 20.0
_START_SECONDS = 0.1
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_VERSION = re.compile(rb"\r\nx-model-version: *([^\r]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """A load.

    Attributes:
        port: Where it goes, on this machine, to POST /invocations.
        rate: Requests per second; 0 for as many as the answers allow.
        seconds: How long requests are due, unless SIGTERM comes before.
        bodies: A file with a body on each line, which take turns.
        output: The file that takes the samples.
        connections: That are open, and so the most requests under way.
        patience_seconds: How much longer unanswered requests may take.
    """

    port: int
    rate: float
    seconds: float
    bodies: str
    output: str
    connections: int = 256
    patience_seconds: float = 10.0


class Running:
    """An open loop in a process of its own. Leaving the context ends it."""

    def __init__(self, load: OpenLoop) -> None:
        self._load = load
        command = [sys.executable, "-m", "benchmarks.openloop", json.dumps(asdict(load))]
        self._process = subprocess.Popen(command, cwd=REPOSITORY)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let no more requests become due."""
        self._process.terminate()

    def samples(self) -> Samples:
        """Wait until it is done, and return what it saw.

        Raises:
            BenchmarkError: it failed.
        """
        code = self._process.wait(
            self._load.seconds + self._load.patience_seconds + _MARGIN_SECONDS
        )
        if code != 0:
            raise BenchmarkError(f"the load generator failed (exit code {code})")
        return Samples.load(Path(self._load.output))


@dataclass(frozen=True, slots=True)
class _Request:
    """When a request was due, and when the client noticed that."""

    due: float
    noticed: float


class _Connection:
    """A connection, and the request that is on it."""

    __slots__ = ("received", "request", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=_CONNECT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.request: _Request | None = None


class _Generator:
    """Sends and receives."""

    def __init__(self, load: OpenLoop) -> None:
        self._load = load
        bodies = Path(load.bodies).read_bytes().splitlines()
        self._messages = itertools.cycle([_message(body) for body in bodies])
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._waiting: deque[_Request] = deque()
        self._epoll = select.epoll()
        # All ahead: a server that stalls must not get a flood of new connections on top, whose
        # backlog would then be what is measured.
        for _ in range(load.connections):
            self._connect()
        self._scheduled = 0
        self._start = time.monotonic() + _START_SECONDS
        self._end = self._start + load.seconds
        self.samples = Samples()

    def run(self) -> None:
        """Send what is due until the end, and wait for the answers."""
        while (now := time.monotonic()) < self._end:
            self._exchange(self._schedule(now))
        deadline = self._end + self._load.patience_seconds
        while len(self.samples) < self._scheduled and time.monotonic() < deadline:
            self._exchange(deadline)
        self._give_up()

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Let no more requests become due."""
        self._end = time.monotonic()

    def _schedule(self, now: float) -> float:
        """Queue what is due by now, and return when to look again."""
        if not self._load.rate:
            self._waiting.extend(_Request(now, now) for _ in self._idle)
            self._scheduled += len(self._idle)
            return self._end
        while (due := self._next_due()) <= now:
            self._waiting.append(_Request(due, now))
            self._scheduled += 1
        return due

    def _next_due(self) -> float:
        return self._start + self._scheduled / self._load.rate

    def _exchange(self, until: float) -> None:
        """Send what waits, and receive what has come; wait for that until `until` at most."""
        while self._waiting and self._idle:
            self._send(self._idle.pop(), self._waiting.popleft())
        # select takes fractions of a millisecond; epoll by itself doesn't.
        select.select([self._epoll], [], [], max(0.0, until - time.monotonic()))
        for descriptor, _ in self._epoll.poll(0):
            self._receive(self._connections[descriptor])

    def _send(self, connection: _Connection, request: _Request) -> None:
        connection.request = request
        message = next(self._messages)
        try:
            whole = connection.socket.send(message) == len(message)
        except OSError:
            whole = False
        if not whole:
            self._replace(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            received = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._replace(connection)
            return
        data = connection.received + received
        head_size = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data)
        if head_size < 4 or length is None or len(data) < head_size + int(length[1]):
            connection.received = data
            return
        version = _VERSION.search(data, 0, head_size)
        assert connection.request is not None
        self.samples.add(
            connection.request.due,
            connection.request.noticed,
            time.monotonic(),
            int(data[9:12]),
            int(version[1]) if version else 0,
        )
        connection.received = b""
        connection.request = None
        self._idle.append(connection)

    def _connect(self) -> None:
        connection = _Connection(self._load.port)
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        self._idle.append(connection)

    def _replace(self, connection: _Connection) -> None:
        """Make anew a connection that broke; the request on it, if any, failed."""
        if connection.request is None:
            self._idle.remove(connection)
        else:
            self._fail(connection.request, time.monotonic())
        self._epoll.unregister(connection.socket)
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._connect()

    def _give_up(self) -> None:
        """Note what was never answered."""
        now = time.monotonic()
        on_the_way = (connection.request for connection in self._connections.values())
        for request in (*on_the_way, *self._waiting):
            if request is not None:
                self._fail(request, now)

    def _fail(self, request: _Request, now: float) -> None:
        self.samples.add(request.due, request.noticed, now, 0, 0)


def _message(body: bytes) -> bytes:
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _main(load: OpenLoop) -> None:
    # A collection would hold up requests that are due.
    gc.disable()
    generator = _Generator(load)
    signal.signal(signal.SIGTERM, generator.stop)
    generator.run()
    generator.samples.save(Path(load.output))


if __name__ == "__main__":
    _main(OpenLoop(**json.loads(sys.argv[1])))
