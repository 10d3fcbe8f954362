"""Ten times the load that it can serve: it serves as much as ever, and refuses the rest at once."""

import asyncio
import statistics
import time

import aiohttp
import psutil
import pytest

from tests.faults.conftest import MAX_QUEUE
from tests.faults.models import text
from tests.support.live import Live
from tests.support.load import Sample, load

pytestmark = pytest.mark.faults

MEBIBYTE = 1024 * 1024
SECONDS = 3.0

# Looks at more than one row, and so is never merged: at most 50 answers a second.
SLOW = """
    import time
    time.sleep(0.02)
    return [f"{len(model_input)} rows"] * len(model_input)
"""


def rate(samples: list[Sample], begin: float, end: float) -> float:
    """Good answers a second between two moments."""
    return sum(s.status == 200 and begin <= s.done <= end for s in samples) / (end - begin)


async def probe(url: str, paths: list[str], until: float) -> dict[str, list[float]]:
    """Ask each of the paths all the time, and return the seconds that the answers took."""
    took: dict[str, list[float]] = {path: [] for path in paths}
    async with aiohttp.ClientSession(url) as session:
        while time.monotonic() < until:
            for path in paths:
                started = time.monotonic()
                async with session.get(path) as response:
                    await response.read()
                    assert response.status == 200
                took[path].append(time.monotonic() - started)
            await asyncio.sleep(0.02)
    return took


async def test_under_ten_times_the_load_it_serves_as_much_and_refuses_the_rest(
    patient: Live,
) -> None:
    server = patient.server
    await asyncio.to_thread(patient.serve, patient.saved.save(SLOW))
    gateway = psutil.Process(server.pid)

    async with load(server.url, text("hello"), clients=4, pause=0) as clients:
        await clients.answered(10)
        begin = time.monotonic()
        await asyncio.sleep(SECONDS / 2)
        capacity = rate(clients.samples, begin, time.monotonic())
    assert clients.failures == []

    memory = gateway.memory_info().rss
    # MAX_QUEUE of them wait; each of the others asks again after 0.3 s.
    async with load(server.url, text("hello"), clients=MAX_QUEUE + 150, pause=0.3) as crowd:
        await crowd.answered(MAX_QUEUE * 2)
        begin = time.monotonic()
        took = await probe(server.url, ["/health", "/livez", "/info"], begin + SECONDS)
        end = time.monotonic()
        reload = asyncio.create_task(asyncio.to_thread(server.reload))
        overloaded = rate(crowd.samples, begin, end)
        assert gateway.memory_info().rss - memory < 40 * MEBIBYTE
        assert (await reload).status == 200

    offered = sum(begin <= s.done <= end for s in crowd.samples) / (end - begin)
    refused = [s for s in crowd.failures if begin <= s.done <= end]
    waits = [s.done - s.sent for s in refused]
    assert offered > 5 * capacity
    assert overloaded > 0.6 * capacity
    assert {s.status for s in crowd.failures} == {503}
    assert statistics.median(waits) < 0.1
    assert max(waits) < 2.0
    for seconds in took.values():
        assert statistics.median(seconds) < 0.1
        assert max(seconds) < 1.0
    # Under overload, most requests are refused: the log tells of that once a second.
    assert len(server.find("requests_refused")) < 3 * SECONDS + 10


async def test_who_is_refused_is_told_when_to_come_back(patient: Live) -> None:
    server = patient.server
    await asyncio.to_thread(patient.serve, patient.saved.save(SLOW))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector) as session:

        async def post() -> tuple[int, str | None, bytes]:
            async with session.post("/invocations", json=text("hello")) as response:
                return response.status, response.headers.get("Retry-After"), await response.read()

        answers = await asyncio.gather(*(post() for _ in range(MAX_QUEUE * 3)))

    refusals = [answer for answer in answers if answer[0] != 200]
    assert len(answers) - len(refusals) >= MAX_QUEUE
    for status, retry_after, body in refusals:
        assert status == 503
        assert int(retry_after or 0) > 0
        assert b"TEMPORARILY_UNAVAILABLE" in body
