"""What clients have the gateway hold is bounded, and what they don't send or take is given up."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pytest_aiohttp import AiohttpClient

from server.http.clients import Limits
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway, Listener
from tests.support.models import SavedModels
from tests.support.raw import RawClient
from tests.support.waiting import eventually

BUDGET = 1_000_000
# Of an empty budget, one gets half.
BODY_LIMIT = 400_000
LIMITS = Limits(
    connections=20,
    head_seconds=0.5,
    body_grace_seconds=0.5,
    body_bytes_per_second=20_000,
    write_seconds=0.5,
)

# Waits for the file that a row names, or says as much as a row asks for.
PREDICT = """
    import pathlib, time
    def answer(text):
        while text.startswith("/") and not pathlib.Path(text).exists():
            time.sleep(0.01)
        return "x" * int(text[1:]) if text.startswith("#") else "fine"
    return [answer(text) for text in model_input["text"]]
"""


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway with room for little."""
    return await start_gateway(
        saved.save(PREDICT),
        max_body_bytes=BODY_LIMIT,
        max_bytes_in_flight=BUDGET,
        reload_token="token",  # noqa: S106
    )


@pytest.fixture
async def client(gateway: Gateway, aiohttp_client: AiohttpClient, way: str) -> Client:
    """A client of a way in that has little patience."""
    return Client(await aiohttp_client(Listener(gateway, limits=LIMITS)), gateway)


class Connect(Protocol):
    """Opens a connection that is closed after the test."""

    async def __call__(self, first: bytes = b"") -> RawClient: ...


@pytest.fixture
async def connect_raw(client: Client) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect(first: bytes = b"") -> RawClient:
            return await stack.enter_async_context(await RawClient.open(client.port, first))

        yield connect


def body_of(size: int, text: str = "fine") -> bytes:
    """A request for `text` that has so many bytes."""
    return json.dumps({"instances": [text]}).encode().ljust(size)


def refusal_of(answer: tuple[int, dict[str, str], bytes]) -> str:
    """The error code of a refusal that says when to come back."""
    status, headers, body = answer
    assert status == 503, answer
    assert int(headers["retry-after"]) > 0
    error = json.loads(body)
    assert error.keys() == {"error_code", "message"}
    return str(error["error_code"])


async def value(client: Client, name: str, **labels: str) -> float:
    """A sample of /metrics, or 0 where there is none."""
    text = (await client.get("/metrics")).body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return 0.0


async def in_flight(client: Client) -> float:
    return await value(client, "model_server_bytes_in_flight")


async def wait_in_flight(client: Client, least: float, most: float) -> None:
    async def reached() -> bool:
        return least <= await in_flight(client) <= most

    await eventually(reached, f"{least} to {most} bytes are in flight", 5)


@pytest.fixture(autouse=True)
async def all_is_given_back(client: Client) -> AsyncIterator[None]:
    """After each test, nothing is held any more, and the next client is answered."""
    yield
    await wait_in_flight(client, 0, 0)
    assert (await client.predict(body_of(0))).json == {"predictions": ["fine"]}


async def begin(raw: RawClient, client: Client, size: int) -> None:
    """Send a body of so many bytes but for the last, and wait until it is counted."""
    before = await in_flight(client)
    await raw.post(body_of(size)[:-1], length=size)
    await wait_in_flight(client, before + size - 1, before + size + 1_000)


async def test_a_body_that_does_not_fit_is_refused_before_it_is_sent(
    client: Client, connect_raw: Connect
) -> None:
    first, second = await connect_raw(), await connect_raw()
    await begin(first, client, 350_000)
    await second.post(b"", length=BODY_LIMIT)
    assert refusal_of(await second.whole_answer()) == "TEMPORARILY_UNAVAILABLE"
    # A smaller one finds room.
    assert (await client.predict(body_of(300_000))).status == 200
    await first.send(b" ")
    assert (await first.answer())[0] == 200
    assert (await client.predict(body_of(BODY_LIMIT))).status == 200
    reason = {"reason": "TooMuchInFlight"}
    assert await value(client, "model_server_refused_total", **reason) == 1


async def test_a_body_without_a_length_is_refused_as_soon_as_it_does_not_fit(
    client: Client, connect_raw: Connect
) -> None:
    first, second = await connect_raw(), await connect_raw()
    await begin(first, client, 350_000)
    await second.send(
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for _ in range(7):
        await second.send(b"%x\r\n%b\r\n" % (50_000, b" " * 50_000))
    refusal_of(await second.whole_answer())


async def test_what_is_declared_and_never_comes_keeps_nobody_out(
    client: Client, connect_raw: Connect
) -> None:
    for _ in range(LIMITS.connections - 3):
        await (await connect_raw()).post(b"", length=BODY_LIMIT)
    assert (await client.predict(body_of(BODY_LIMIT))).status == 200


async def test_a_packed_body_is_refused_as_soon_as_it_has_grown_too_large(
    client: Client, connect_raw: Connect
) -> None:
    first, second = await connect_raw(), await connect_raw()
    packed = gzip.compress(body_of(BODY_LIMIT))
    await second.post(packed, "Content-Encoding: gzip")
    assert (await second.answer())[0] == 200
    await begin(first, client, 350_000)
    await second.post(packed, "Content-Encoding: gzip")
    refusal_of(await second.whole_answer())


async def test_a_body_that_comes_in_one_piece_is_refused_too(
    client: Client, connect_raw: Connect
) -> None:
    holders = [await connect_raw() for _ in range(3)]
    for raw, size in zip(holders, (390_000, 300_000, 150_000), strict=True):
        await begin(raw, client, size)
    raw = await connect_raw(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (await raw.answer())[0] == 200
    await raw.post(body_of(100_000))
    refusal_of(await raw.whole_answer())


async def test_an_answer_that_does_not_fit_is_refused(client: Client, connect_raw: Connect) -> None:
    raw, holder = await connect_raw(), await connect_raw()
    for _ in range(2):
        await raw.post(body_of(0, "#400000"))
        assert len((await raw.answer())[1]) > 400_000
    await begin(holder, client, 390_000)
    for headers in ((), ("Accept-Encoding: gzip",)):
        await raw.post(body_of(0, "#400000"), *headers)
        refusal_of(await raw.whole_answer())
    await raw.post(body_of(0, "#100000"))
    assert (await raw.answer())[0] == 200


async def test_an_answer_that_nobody_takes_is_given_up(
    client: Client, connect_raw: Connect
) -> None:
    raw = await connect_raw()
    raw.transport.pause_reading()
    for _ in range(2):
        await raw.post(body_of(0, "#30000000"))
    await wait_in_flight(client, 20_000_000, 31_000_000)

    async def given_up() -> bool:
        return await value(client, "model_server_connections_ended_total", reason="unread") == 1

    await eventually(given_up, "the answer is given up", 5)


async def test_an_answer_that_is_taken_slowly_is_sent_whole(
    client: Client, connect_raw: Connect
) -> None:
    raw = await connect_raw()
    await raw.post(body_of(0, "#30000000"))
    answer = asyncio.create_task(raw.answer())
    while not answer.done():
        enough = raw.unread + 4_000_000
        while raw.unread < enough and not answer.done():
            await asyncio.sleep(0.001)
        raw.transport.pause_reading()
        await asyncio.sleep(LIMITS.write_seconds * 0.4)
        raw.transport.resume_reading()
    assert len((await answer)[1]) > 30_000_000


async def test_a_body_that_comes_too_slowly_is_given_up(connect_raw: Connect) -> None:
    raw = await connect_raw()
    started = time.monotonic()
    await raw.post(b"", length=100_000)
    for _ in range(100):
        await raw.send(b" ")
        await asyncio.sleep(0.05)
        if time.monotonic() - started > 2 * LIMITS.body_grace_seconds:
            break
    assert (await raw.answer())[0] == 408
    assert time.monotonic() - started < 3


async def test_a_body_that_stops_is_given_up_once_it_is_too_slow_on_average(
    connect_raw: Connect,
) -> None:
    raw = await connect_raw()
    started = time.monotonic()
    await raw.post(b" " * 30_000, length=100_000)
    assert (await raw.answer())[0] == 408
    assert 1.3 < time.monotonic() - started < 4


async def test_a_body_that_comes_fast_enough_may_take_its_time(connect_raw: Connect) -> None:
    raw = await connect_raw()
    body = body_of(100_000)
    started = time.monotonic()
    await raw.post(b"", length=len(body))
    for place in range(0, len(body), 10_000):
        await raw.send(body[place : place + 10_000])
        await asyncio.sleep(0.15)
    assert (await raw.answer())[0] == 200
    assert time.monotonic() - started > 2 * LIMITS.body_grace_seconds


async def test_a_head_that_is_not_whole_in_time_is_given_up(
    client: Client, connect_raw: Connect
) -> None:
    begun = b"POST /invocations HTTP/1.1\r\nHost: t"
    fresh, used = await connect_raw(begun), await connect_raw()
    await used.post(body_of(0))
    assert (await used.answer())[0] == 200
    started = time.monotonic()
    await used.send(begun)
    assert await fresh.closed()
    assert await used.closed()
    assert time.monotonic() - started < 3
    assert await value(client, "model_server_connections_ended_total", reason="head") == 2


async def test_the_parts_of_heads_count(client: Client, connect_raw: Connect) -> None:
    begun = b"GET /livez HTTP/1.1\r\nHost: test\r\nCookie: " + b"a" * 50_000
    raws = [await connect_raw(begun) for _ in range(10)]
    await wait_in_flight(client, 10 * 50_000, 10 * 50_100)
    for raw in raws:
        await raw.send(b"\r\n\r\n")
        assert (await raw.answer())[0] == 200


async def test_what_comes_behind_a_request_counts_and_is_answered_after_it(
    client: Client, connect_raw: Connect, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    raw = await connect_raw()
    await raw.post(body_of(0, str(gate)))
    await raw.post(body_of(200_000))
    await wait_in_flight(client, 50_000, 210_000)
    await asyncio.to_thread(gate.touch)
    assert [(await raw.answer())[0] for _ in range(2)] == [200, 200]


async def test_what_comes_behind_a_request_is_dropped_where_there_is_no_room(
    client: Client, connect_raw: Connect, tmp_path: Path, way: str
) -> None:
    if way == "ordinary":
        pytest.skip("aiohttp itself keeps a part of it, and reads no more")
    gate = tmp_path / "gate"
    raw = await connect_raw()
    for size in (380_000, 200_000, 150_000, 100_000):
        await begin(await connect_raw(), client, size)
    held = await in_flight(client)
    await raw.post(body_of(0, str(gate)))
    await wait_in_flight(client, held, held + 1_000)
    await raw.post(body_of(200_000))
    dropped = {"reason": "pipelining"}

    async def noticed() -> bool:
        return await value(client, "model_server_connections_ended_total", **dropped) == 1

    await eventually(noticed, "what came is dropped", 5)
    assert await in_flight(client) == held
    await asyncio.to_thread(gate.touch)
    assert (await raw.answer())[0] == 200
    assert await raw.closed()


@pytest.mark.parametrize("path", ["/nowhere", "/livez", "/reload"])
async def test_bodies_that_nobody_reads_are_not_kept(
    client: Client, connect_raw: Connect, path: str
) -> None:
    raws = [await connect_raw() for _ in range(5)]
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 900000\r\n\r\n"
    for raw in raws:
        await raw.send(head.encode() + b" " * 400_000)
    answers = [(await raw.answer())[0] for raw in raws]
    assert set(answers) <= {404, 405, 401}
    await wait_in_flight(client, 0, 0)
    for raw in raws:
        await raw.send(b" " * 500_000 + b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        # It stays in step.
        assert (await raw.answer())[0] == 200


async def test_a_silent_connection_makes_room_for_a_new_one(
    client: Client, connect_raw: Connect
) -> None:
    busy = await connect_raw()
    await busy.post(body_of(100_000)[:-1], length=100_000)
    silent = [await connect_raw() for _ in range(2 * LIMITS.connections)]
    live = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
    raws = [await connect_raw(live) for _ in range(5)]
    assert [(await raw.answer())[0] for raw in raws] == [200] * 5
    # Those that were silent longest are closed, the one under way is not.
    assert await silent[0].closed()
    await silent[-1].send(live)
    assert (await silent[-1].answer())[0] == 200
    await busy.send(b" ")
    assert (await busy.answer())[0] == 200
