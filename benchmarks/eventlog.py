"""Reading this server's log while it is written."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

_POLL_SECONDS = 0.01


class EventLog:
    """The log of one server.

    Args:
        path: A file of JSON lines.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def wait_for(self, event: str, since: float, seconds: float) -> float:
        """Wait until an event of this name was logged after a moment, and return when.

        Args:
            event: Its name.
            since: A time of the monotonic clock.
            seconds: Patience.

        Returns:
            A time of the monotonic clock.

        Raises:
            BenchmarkError: it wasn't logged in time, or a reload failed meanwhile.
        """
        deadline = time.monotonic() + seconds
        while True:
            self._read()
            if (found := self._first(event, since)) is not None:
                return found
            if self._first("reload_failed", since) is not None:
                raise BenchmarkError(f"a reload failed: {self._events[-1]}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"the server didn't log {event} within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def count(self, event: str) -> int:
        """How often an event of this name was logged so far."""
        self._read()
        return sum(entry["event"] == event for entry in self._events)

    def _first(self, event: str, since: float) -> float | None:
        monotonic = _monotonic_of()
        for entry in self._events:
            if entry["event"] == event and monotonic(entry["timestamp"]) >= since:
                return monotonic(entry["timestamp"])
        return None

    def _read(self) -> None:
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        self._events += [json.loads(line) for line in lines if line.startswith(b"{")]


def _monotonic_of() -> Callable[[str], float]:
    """A function from the log's timestamps to the monotonic clock."""
    offset = time.monotonic() - time.time()
    return lambda stamp: datetime.fromisoformat(stamp).timestamp() + offset
