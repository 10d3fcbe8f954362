"""How often one and the same event may stand in the log, where clients cause it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

LINES_PER_SECOND = 10

# What a client can cause as often as it asks. Whatever tells of versions, workers and the registry
# is not among these: people alert on it, and each line of it stands for something that happened.
LIMITED_EVENTS = frozenset(
    {
        "api_key_unreadable",
        "killers_refused",
        "prediction_failed",
        "reload_token_unreadable",
        "request_crashed",
        "request_failed",
        "request_malformed",
        "requests_refused",
    }
)


class LineLimit(logging.Filter):
    """Passes the first `LINES_PER_SECOND` records of each limited event in a second, and tells of
    the others. The records of other loggers, such as aiohttp's, count by the logger's name.

    Args:
        tell: Called with a name and how many of its lines are not in the log: once the second is
            over where an event loop runs, else with the next such record, or at the end.
        now: Seconds, monotonic.
    """

    def __init__(
        self, tell: Callable[[str, int], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._tell = tell
        self._now = now
        self._seconds: dict[str, _Second] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be written."""
        name = _limited_name(record)
        if name is None:
            return True
        now = self._now()
        second = self._seconds.get(name)
        if second is None or now - second.began >= 1.0:
            self._end(name, second)
            second = self._seconds[name] = _Second(now)
        second.lines += 1
        if second.lines == LINES_PER_SECOND + 1:
            with contextlib.suppress(RuntimeError):  # where no loop runs
                left = second.began + 1.0 - now
                asyncio.get_running_loop().call_later(left, self._end, name, second)
        return second.lines <= LINES_PER_SECOND

    def close(self) -> None:
        """Tell of what has not been told of yet."""
        for name, second in list(self._seconds.items()):
            self._end(name, second)

    def _end(self, name: str, second: "_Second | None") -> None:
        if second is None or self._seconds.get(name) is not second:
            return
        del self._seconds[name]
        if second.lines > LINES_PER_SECOND:
            self._tell(name, second.lines - LINES_PER_SECOND)


class _Second:
    """What has come of one name in a second.

    Attributes:
        began: When.
        lines: How many, written or not.
    """

    __slots__ = ("began", "lines")

    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = 0


def _limited_name(record: logging.LogRecord) -> str | None:
    """What a record counts as; None if it always passes."""
    if not isinstance(record.msg, dict):
        return record.name
    event = record.msg.get("event")
    return event if event in LIMITED_EVENTS else None
