"""Requests that end the model's process, or hang it: whoever sends them has the trouble."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.serving.crashes import MOST_CRASHES
from tests.end_to_end.faults.models import text
from tests.support.live import Live, serving
from tests.support.load import load
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

SECONDS = 5.0
CLIENTS = 16
AT_ONCE_SECONDS = 0.5
REQUEST_TIMEOUT = 2.0

# What each text begins with is what it does. Each row is answered by itself.
KILLED_BY = """
    import ctypes, os, time

    def obey(text):
        if text.startswith("exit"):
            os._exit(3)
        elif text.startswith("segfault"):
            ctypes.string_at(0)
        elif text.startswith("compute"):
            while True:
                pass
        elif text.startswith("wait"):
            time.sleep(1000)
        return f"echo {text}"

    return [obey(text) for text in model_input["text"]]
"""


@pytest.fixture(scope="module")
def model(saved: SavedModels) -> Path:
    """Saved once, served as several versions."""
    return saved.save(KILLED_BY)


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels, model: Path
) -> Iterator[Live]:
    """A server of that model."""
    directory = tmp_path_factory.mktemp("killers")
    settings = {
        "REQUEST_TIMEOUT_SECONDS": str(REQUEST_TIMEOUT),
        # What ends one version another one answers, and would be rehearsed with.
        "REHEARSAL_REQUESTS": "0",
    }
    with serving(directory, registry, saved, "killers", model, **settings) as live:
        yield live


@asynccontextmanager
async def posting(server: Server, texts: Iterator[str], pause: float) -> AsyncIterator[list[int]]:
    """Post one text after the other, with so many seconds in between, until the block ends; what
    comes back are the statuses so far."""
    statuses: list[int] = []
    ends = asyncio.Event()

    async def client() -> None:
        async with aiohttp.ClientSession(server.url) as session:
            while not ends.is_set():
                async with session.post("/invocations", json=text(next(texts))) as answer:
                    await answer.read()
                    statuses.append(answer.status)
                await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        group.create_task(client())
        try:
            yield statuses
        finally:
            ends.set()


def repeated(word: str) -> Iterator[str]:
    """The same text for ever."""
    while True:
        yield word


def differing(word: str) -> Iterator[str]:
    """A text that is another one each time."""
    number = 0
    while True:
        number += 1
        yield f"{word} {number}"


async def test_bystanders_of_those_who_kill_the_model_do_not_notice(live: Live) -> None:
    server, mark = live.server, live.server.mark()
    (version,) = {live.server.info()["metadata"]["version"]}
    async with (
        load(server.url, text("hello"), clients=CLIENTS) as good,
        posting(server, repeated("exit"), 0.1) as same,
        posting(server, differing("segfault"), 1.0) as others,
    ):
        await asyncio.sleep(SECONDS)

    latencies = sorted(s.done - s.sent for s in good.samples)
    p99, longest = latencies[int(len(latencies) * 0.99)], latencies[-1]
    print(f"{len(latencies)} good, p99 {p99 * 1000:.0f} ms, longest {longest * 1000:.0f} ms")
    print(f"{len(same)} repeated, {len(others)} differing")
    assert good.failures == []
    assert good.versions == {version}
    assert longest < REQUEST_TIMEOUT
    assert set(same) == set(others) == {500}
    # None of them waited for anything but its own turn.
    assert len(same) > SECONDS / 0.1 / 4
    assert len(others) >= SECONDS / 2
    assert server.find("version_given_up", mark) == []
    assert server.find("worker_not_replaced", mark) == []


def timed(server: Server, body: Any) -> tuple[int, str, float]:
    """Post, and return the status, the message of an error, and the seconds that it took."""
    started = time.monotonic()
    answer = server.predict(body)
    return answer.status, answer.json.get("message", ""), time.monotonic() - started


@pytest.mark.parametrize(
    # A death is seen again, alone in a spare worker; what hung is asked there when it comes again.
    ("killer", "status", "posts"),
    [("exit", 500, 1), ("segfault", 500, 1), ("compute", 504, 2)],
)
def test_what_has_ended_a_spare_too_is_refused_without_costing_another(
    live: Live, killer: str, status: int, posts: int
) -> None:
    server, mark = live.server, live.server.mark()
    body = text(f"{killer} the same")
    first = {timed(server, body)[0] for _ in range(posts)}
    server.wait_for("worker_exited", since=mark, count=2)
    server.wait_for("worker_replaced", since=mark)
    workers, mark = server.worker_pids(), server.mark()

    again = [timed(server, body) for _ in range(20)]

    assert first == {status}
    assert {code for code, _, _ in again} == {status}
    assert max(seconds for _, _, seconds in again) < AT_ONCE_SECONDS
    assert all("before" in message for _, message, _ in again), again[0]
    assert server.find("worker_exited", mark) == server.find("worker_hung", mark) == []
    assert server.worker_pids() == workers
    assert server.predict(text("hello")).json == {"predictions": ["echo hello"]}


def test_what_only_resembles_it_is_predicted(live: Live) -> None:
    server = live.server
    assert server.predict(text("exit a")).status == 500
    # Of the same length, in another form, and as another content type.
    assert server.predict(text("echo a")).status == 200
    body = json.dumps(text("exit a")).encode()
    answer = server.request("POST", "/invocations", body, {"Content-Type": "text/csv"})
    assert answer.status == 400
    assert server.predict(body).status == 500


async def test_one_killer_and_one_that_hangs_do_not_bring_the_version_before_back(
    live: Live, model: Path
) -> None:
    server = live.server
    live.serve("the version before")
    version = live.serve(model)
    mark = server.mark()
    # Nobody else asks: all that comes kills or hangs.
    async with (
        posting(server, repeated("exit again and again"), 0.01) as killed,
        posting(server, repeated("compute again and again"), 0.01) as hung,
        posting(server, repeated("wait again and again"), 0.01) as waited,
    ):

        async def enough() -> bool:
            lost = await asyncio.to_thread(server.find, "worker_exited", mark)
            many = min(len(killed), len(hung)) > 100
            return many and len(waited) > 2 and len(lost) >= MOST_CRASHES

        # More workers are lost than a version may lose without a request.
        await eventually(enough, "they kill and hang often enough")

    assert set(killed) == {500}
    assert set(hung) == set(waited) == {504}
    assert server.find("version_given_up", mark) == []
    answer = await asyncio.to_thread(server.predict, text("hello"))
    assert (answer.version, answer.json) == (version, {"predictions": ["echo hello"]})


def test_one_that_waited_for_something_else_is_asked_anew(live: Live) -> None:
    server = live.server
    body = text("wait for an upstream")
    statuses = [timed(server, body) for _ in range(2)]
    assert [status for status, _, _ in statuses] == [504, 504]
    assert min(seconds for _, _, seconds in statuses) >= REQUEST_TIMEOUT
    assert server.predict(text("hello")).status == 200


def test_another_version_may_be_asked_what_ended_the_one_before(live: Live, model: Path) -> None:
    server = live.server
    body = text("exit for one version")
    assert server.predict(body).status == 500
    assert server.predict(body).status == 500

    mends = live.saved.save("return [f'mended {text}' for text in model_input['text']]")
    live.serve(mends)

    assert server.predict(body).json == {"predictions": ["mended exit for one version"]}
    live.serve(model)
    mark = server.mark()
    assert server.predict(body).status == 500
    # It is asked, and ends a process.
    server.wait_for("worker_exited", since=mark)
    assert server.predict(text("hello")).status == 200
