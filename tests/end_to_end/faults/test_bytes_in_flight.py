"""One client that sends much, or takes nothing, on many connections: the server's memory stays
bounded, and others are answered meanwhile."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.end_to_end.faults.models import text
from tests.support.models import SavedModels
from tests.support.raw import RawClient
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import eventually

pytestmark = pytest.mark.faults

MEBIBYTE = 1024 * 1024
BUDGET = 32 * MEBIBYTE
BODY = 8 * MEBIBYTE
MAX_CONNECTIONS = 200
# Beside the budget: an answer on its way from the worker to the client, which is copied twice, what
# is being unpacked and read, and gaps that this leaves. Without a budget, each attack takes more.
MARGIN = 48 * MEBIBYTE

# Takes its time over large texts, and says as much as it is asked for.
PREDICT = """
    import time
    def answer(text):
        if len(text) > 1_000_000:
            time.sleep(0.3)
        return "x" * int(text[1:]) if text.startswith("#") else "fine"
    return [answer(text) for text in model_input["text"]]
"""

Attack: TypeAlias = Callable[[RawClient, int], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Server]:
    """A server with room for little."""
    registry.create("in-flight")
    registry.promote("in-flight", registry.add("in-flight", saved.save(PREDICT)))
    server = Server(
        tmp_path_factory.mktemp("in-flight"),
        MODEL_URI="models:/in-flight/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        MAX_BODY_BYTES=str(BODY),
        MAX_BYTES_IN_FLIGHT=str(BUDGET),
        MAX_CONNECTIONS=str(MAX_CONNECTIONS),
    )
    server.wait_healthy()
    yield server
    server.close()


def peak(server: Server) -> int:
    """The most bytes that the gateway has had in memory."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module", autouse=True)
def most(server: Server) -> int:
    """What the gateway may ever have in memory."""
    return peak(server) + BUDGET + MARGIN


@pytest.fixture(autouse=True)
def memory_is_bounded(server: Server, most: int) -> Iterator[None]:
    """In each test."""
    yield
    assert peak(server) < most


def in_flight(server: Server) -> int:
    """What the server says that it holds."""
    metrics = server.request("GET", "/metrics").body.decode()
    name = "model_server_bytes_in_flight "
    (line,) = (line for line in metrics.splitlines() if line.startswith(name))
    return int(float(line.removeprefix(name)))


async def others_are_answered(server: Server) -> None:
    """An ordinary request, and the question whether the server lives, are answered soon."""
    started = time.monotonic()
    assert (await asyncio.to_thread(server.request, "GET", "/livez")).status == 200
    answer = await asyncio.to_thread(server.predict, text("hello"))
    assert answer.json == {"predictions": ["fine"]}
    assert time.monotonic() - started < 5


@asynccontextmanager
async def attacked(server: Server, attack: Attack, times: int) -> AsyncIterator[list[RawClient]]:
    """Attack a server over so many connections, and see that it holds no more than it may."""
    await others_are_answered(server)
    async with AsyncExitStack() as stack:
        raws = [
            await stack.enter_async_context(await RawClient.open(server.port)) for _ in range(times)
        ]
        sending = [asyncio.create_task(attack(raw, number)) for number, raw in enumerate(raws)]
        await asyncio.wait(sending, timeout=3)
        await others_are_answered(server)
        assert in_flight(server) <= BUDGET
        yield raws
        await asyncio.gather(*sending)

    async def given_back() -> bool:
        return await asyncio.to_thread(in_flight, server) == 0

    await eventually(given_back, "all is given back")


def large(size: int) -> bytes:
    """A request of so many bytes."""
    return b'{"instances":["%b"]}' % (b"a" * (size - len(b'{"instances":[""]}')))


async def statuses(raws: list[RawClient]) -> list[int]:
    return [(await raw.answer())[0] for raw in raws]


async def test_bodies_that_unpack_to_much_are_taken_as_far_as_there_is_room(
    server: Server,
) -> None:
    packed = gzip.compress(large(BODY))

    async def post(raw: RawClient, _: int) -> None:
        await raw.post(packed, "Content-Encoding: gzip")

    async with attacked(server, post, 26) as raws:
        came = await statuses(raws)
    assert set(came) == {200, 503}
    assert came.count(200) >= 2


async def test_a_packed_body_that_never_ends_takes_what_was_sent(server: Server) -> None:
    packed = gzip.compress(large(BODY))

    async def post(raw: RawClient, _: int) -> None:
        await raw.send(
            b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Encoding: gzip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(packed), packed)
        )

    async with attacked(server, post, 26):
        assert in_flight(server) <= 26 * len(packed)


async def test_plain_bodies_that_never_end_are_taken_as_far_as_there_is_room(
    server: Server,
) -> None:
    body = large(BODY)

    async def post(raw: RawClient, _: int) -> None:
        await raw.post(body[:-1], length=BODY)

    async with attacked(server, post, 16) as raws:
        for raw in raws:
            await raw.send(body[-1:])
        came = await statuses(raws)
    assert set(came) == {200, 503}
    assert came.count(200) >= 2


async def test_bodies_that_wait_for_a_slow_model_take_no_more_than_there_is_room_for(
    server: Server,
) -> None:
    body = large(BODY)
    turn = asyncio.Lock()

    async def post(raw: RawClient, _number: int) -> None:
        # One after the other: each is sent before the next is begun.
        async with turn:
            await raw.post(body)

    async with attacked(server, post, 16) as raws:
        came = await statuses(raws)
    assert set(came) == {200, 503}


async def test_bodies_of_clients_that_have_gone_count_until_they_are_dropped(
    server: Server,
) -> None:
    body = large(BODY)

    async def post(raw: RawClient, _: int) -> None:
        await raw.post(body)
        raw.close()

    async with attacked(server, post, 40):
        pass


@pytest.mark.parametrize("used", [False, True], ids=["new connections", "used connections"])
async def test_answers_that_nobody_takes_are_kept_as_far_as_there_is_room(
    server: Server, used: bool
) -> None:
    async def ask(raw: RawClient, _: int) -> None:
        if used:
            await raw.post(b'{"instances":["hello"]}')
            assert (await raw.answer())[0] == 200
        raw.transport.pause_reading()
        await raw.post(b'{"instances":["#%d"]}' % BODY)

    async with attacked(server, ask, 12) as raws:
        for raw in raws:
            raw.transport.resume_reading()
        came = await statuses(raws)
    assert set(came) == {200, 503}
    assert came.count(200) >= 2


async def test_bodies_that_nobody_reads_take_nothing(server: Server) -> None:
    async def post(raw: RawClient, _: int) -> None:
        await raw.send(b"POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 8000000\r\n\r\n")
        await raw.send(b" " * 1_000_000)

    async with attacked(server, post, 100) as raws:
        assert set(await statuses(raws)) == {404}
        assert in_flight(server) == 0


async def test_what_comes_behind_requests_takes_no_more_than_there_is_room_for(
    server: Server,
) -> None:
    live = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"

    async def post(raw: RawClient, _: int) -> None:
        raw.transport.pause_reading()
        await raw.send(
            b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: 1000018\r\n\r\n"
        )
        await raw.send(large(1_000_018) + live * 10_000)

    async with attacked(server, post, 60):
        pass


async def test_silent_connections_keep_nobody_out(server: Server) -> None:
    async with AsyncExitStack() as stack:

        async def connect() -> RawClient:
            return await stack.enter_async_context(await RawClient.open(server.port))

        silent = [await connect() for _ in range(MAX_CONNECTIONS)]
        await others_are_answered(server)
        # Many more, as fast as they can be opened.
        silent += [await connect() for _ in range(5 * MAX_CONNECTIONS)]
        await others_are_answered(server)
        assert await silent[0].closed()


async def test_heads_and_bodies_that_come_too_slowly_are_given_up(server: Server) -> None:
    async with AsyncExitStack() as stack:

        async def trickle(first: bytes) -> float:
            started = time.monotonic()
            raw = await stack.enter_async_context(await RawClient.open(server.port, first))
            answer = asyncio.create_task(raw.answer())
            while not answer.done():
                await raw.send(b"a")
                await asyncio.wait([answer], timeout=0.2)
            assert (await answer)[0] in (0, 408)
            return time.monotonic() - started

        body = b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n"
        took = await asyncio.gather(trickle(b"GET /livez HTTP/1.1\r\nHost: "), trickle(body))
    assert 9 < took[0] < 14
    assert 4 < took[1] < 9
