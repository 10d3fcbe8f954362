"""How often one event may stand in the log."""

import asyncio
import logging

import pytest

from server.log_limits import LIMITED_EVENTS, LINES_PER_SECOND, LineLimit
from tests.support.clock import Clock
from tests.support.events import FIELDS


class Told:
    """What a limit has told of, as pairs of a name and how many lines are missing."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, int]] = []

    def __call__(self, name: str, lines: int) -> None:
        self.pairs.append((name, lines))


@pytest.fixture
def told() -> Told:
    return Told()


def event(name: str) -> logging.LogRecord:
    """A record as structlog makes it."""
    return logging.makeLogRecord({"name": "server.http", "msg": {"event": name}})


def passed(limit: LineLimit, count: int, record: logging.LogRecord) -> int:
    """How many of so many records are written."""
    return sum(limit.filter(record) for _ in range(count))


def test_the_first_of_a_second_are_written_and_the_others_counted(clock: Clock, told: Told) -> None:
    limit = LineLimit(told, clock)
    assert passed(limit, 500, event("request_malformed")) == LINES_PER_SECOND
    assert told.pairs == []
    clock.now += 1.0
    assert passed(limit, 5, event("request_malformed")) == 5
    assert told.pairs == [("request_malformed", 500 - LINES_PER_SECOND)]


def test_each_event_counts_by_itself(clock: Clock, told: Told) -> None:
    limit = LineLimit(told, clock)
    for name in LIMITED_EVENTS:
        assert passed(limit, 20, event(name)) == LINES_PER_SECOND


def test_other_loggers_count_by_their_names(clock: Clock, told: Told) -> None:
    limit = LineLimit(told, clock)
    for name in ("aiohttp.server", "asyncio"):
        record = logging.makeLogRecord({"name": name, "msg": "failed %s", "args": ("so",)})
        assert passed(limit, 20, record) == LINES_PER_SECOND
    limit.close()
    assert sorted(told.pairs) == [("aiohttp.server", 10), ("asyncio", 10)]


@pytest.mark.parametrize("name", [*FIELDS, "worker_output", "request"])
def test_what_people_alert_on_or_ask_for_is_always_written(
    clock: Clock, told: Told, name: str
) -> None:
    assert passed(LineLimit(told, clock), 500, event(name)) == 500


async def test_what_is_missing_is_told_of_once_the_second_is_over_though_nothing_follows(
    told: Told,
) -> None:
    limit = LineLimit(told)
    assert passed(limit, 30, event("request_failed")) == LINES_PER_SECOND
    async with asyncio.timeout(10):
        while not told.pairs:
            await asyncio.sleep(0.02)
    assert told.pairs == [("request_failed", 20)]
    limit.close()
    assert len(told.pairs) == 1


def test_at_the_end_it_tells_of_what_is_left(clock: Clock, told: Told) -> None:
    limit = LineLimit(told, clock)
    passed(limit, 11, event("request_failed"))
    limit.close()
    assert told.pairs == [("request_failed", 1)]
