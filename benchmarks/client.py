"""A small HTTP client for set-up and for large payloads; loads have clients of their own."""

import http.client
import json
import statistics
import time
from typing import Any

from benchmarks.errors import BenchmarkError

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 120.0
_PROBE_SECONDS = 2.0
_FEWEST_REQUESTS = 3


def get(port: int, path: str) -> bytes | None:
    """The body of a 200 answer to `GET path`, or None."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=_PATIENCE_SECONDS)

    def post(self, path: str, body: bytes) -> bytes:
        """Post JSON and return the body of the answer.

        Raises:
            BenchmarkError: the answer isn't 200.
        """
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != http.HTTPStatus.OK:
            said = content[:500].decode(errors="replace")
            raise BenchmarkError(f"POST {path} was answered with {answer.status}: {said}")
        return content

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def median_seconds(port: int, path: str, body: bytes, seconds: float) -> float:
    """The median time of posting a body again and again on one connection, for so long and at
    least three times.

    Raises:
        BenchmarkError: an answer isn't 200.
    """
    client = Client(port)
    durations: list[float] = []
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end or len(durations) < _FEWEST_REQUESTS:
            started = time.perf_counter()
            client.post(path, body)
            durations.append(time.perf_counter() - started)
    finally:
        client.close()
    return statistics.median(durations)


def post(port: int, path: str, body: Any) -> Any:
    """Post a JSON value on a connection of its own and return the answer's.

    Raises:
        BenchmarkError: the answer isn't 200.
    """
    client = Client(port)
    try:
        return json.loads(client.post(path, json.dumps(body).encode()))
    finally:
        client.close()
