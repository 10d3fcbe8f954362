"""What a hostile or broken client can send, and that the next client does not notice."""

import asyncio
import gc
import gzip
import json
import os
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.raw import RawClient
from tests.support.waiting import eventually

BODY_LIMIT = 4_000_000
TIMEOUT = 2.0

GOOD = json.dumps({"instances": ["some text"]}).encode()


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with a small body limit and little patience."""
    return await start_gateway(
        "fine",
        max_body_bytes=BODY_LIMIT,
        request_timeout_seconds=TIMEOUT,
        max_connections=50,
    )


def memory(processes: list[psutil.Process]) -> list[int]:
    """What each of these processes holds, in bytes."""
    return [process.memory_info().rss for process in processes]


def grown_little(before: list[int], after: list[int]) -> bool:
    """Whether none has grown by more than a body takes while it is read."""
    return all(later - earlier < 60_000_000 for earlier, later in zip(before, after, strict=True))


@pytest.fixture(autouse=True)
async def next_client_is_served(client: Client) -> AsyncIterator[None]:
    """After each test: the same worker answers the next client at once, and memory is bounded."""
    pids = await client.worker_pids()
    processes = [psutil.Process(pid) for pid in (os.getpid(), *pids)]
    before = memory(processes)
    yield
    started = time.monotonic()
    assert (await client.predict({"instances": ["some text"]})).json == {"predictions": ["fine"]}
    assert time.monotonic() - started < 1.0
    assert await client.worker_pids() == pids
    if not grown_little(before, memory(processes)):
        # What these very tests have left behind is not the gateway's.
        gc.collect()
        assert grown_little(before, memory(processes))


@pytest.fixture
async def raw(client: Client) -> AsyncIterator[RawClient]:
    """A connection to the gateway."""
    async with await RawClient.open(client.port) as raw:
        yield raw


def assert_refused(answer: tuple[int, bytes], status: int) -> None:
    """The answer has this status and the shape of every error."""
    assert answer[0] == status
    assert json.loads(answer[1]).keys() == {"error_code", "message"}


async def test_a_body_over_the_limit_is_refused_before_it_is_read(raw: RawClient) -> None:
    await raw.post(b"", length=200_000_000)
    assert_refused(await raw.answer(), 413)


async def test_a_body_of_200_megabytes_is_refused_and_not_kept(raw: RawClient) -> None:
    await raw.post(b"", length=200_000_000)
    for _ in range(200):
        await raw.send(b" " * 1_000_000)
    assert_refused(await raw.answer(), 413)


async def test_a_chunked_body_over_the_limit_is_refused_as_soon_as_it_is_over(
    raw: RawClient,
) -> None:
    await raw.send(
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    chunk = b"%x\r\n%b\r\n" % (1_000_000, b" " * 1_000_000)
    for _ in range(6):
        await raw.send(chunk)
    assert_refused(await raw.answer(), 413)


@pytest.mark.faults
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_unpacks_to_ten_gigabytes_is_refused(
    raw: RawClient, encoding: str
) -> None:
    packer = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    first = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, the same packed block unpacks to the same again, however often it comes.
    block = packer.compress(b"[" * 50_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    await raw.post(first + block * 200, f"Content-Encoding: {encoding}")
    assert_refused(await raw.answer(), 413)


async def test_a_packed_body_within_the_limit_is_answered(raw: RawClient) -> None:
    await raw.post(gzip.compress(GOOD), "Content-Encoding: gzip")
    assert await raw.answer() == (200, b'{"predictions":["fine"]}')


async def test_a_body_that_is_not_what_its_encoding_says_is_refused(raw: RawClient) -> None:
    await raw.post(GOOD, "Content-Encoding: gzip")
    status, _ = await raw.answer()
    assert status == 400


async def test_a_body_cut_short_is_given_up(client: Client, raw: RawClient) -> None:
    with capture_logs() as logs:
        await raw.post(GOOD, length=len(GOOD) + 10)
        raw.shut_down()
        assert (await raw.answer())[0] in (0, 400)
        async with await RawClient.open(client.port) as another:
            await another.send(b"this is not HTTP\r\n\r\n")
            assert_refused(await another.answer(), 400)
    assert "request_malformed" in [line["event"] for line in logs]
    # Anyone can do that; it is no fault of the server.
    assert [line for line in logs if line["log_level"] == "error"] == []


@pytest.mark.faults
async def test_a_body_that_never_arrives_is_given_up(raw: RawClient) -> None:
    await raw.post(b"", length=1000)
    started = time.monotonic()
    assert_refused(await raw.answer(), 408)
    assert time.monotonic() - started < TIMEOUT + 3
    assert await raw.closed()


@asynccontextmanager
async def trickling(raw: RawClient, first: bytes, then: bytes) -> AsyncIterator[None]:
    """Send a byte now and then, until the block ends."""

    async def trickle() -> None:
        await raw.send(first)
        while True:
            await asyncio.sleep(0.1)
            await raw.send(then)

    sender = asyncio.create_task(trickle())
    try:
        yield
    finally:
        sender.cancel()
        await asyncio.wait([sender])


async def test_a_client_that_sends_a_byte_a_time_is_given_up(raw: RawClient) -> None:
    await raw.post(b"", length=100_000)
    async with trickling(raw, b" ", b" "):
        assert_refused(await raw.answer(), 408)


async def post_in_two_pieces(client: Client, raw: RawClient) -> None:
    """Have a request answered whose head arrives in pieces."""
    await raw.send(b"POST /invocations HTTP/1.1\r\nHost: test\r\n")
    # As soon as this one is answered, the server has read the piece.
    assert (await client.predict({"instances": ["some text"]})).status == 200
    head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(GOOD)
    await raw.send(head + GOOD)
    assert (await raw.answer())[0] == 200


async def test_a_head_that_never_arrives_whole_is_given_up(client: Client, raw: RawClient) -> None:
    async with await RawClient.open(client.port) as idle:
        await post_in_two_pieces(client, idle)
        started = time.monotonic()
        async with trickling(raw, b"POST /invocations HTTP/1.1\r\nHost: ", b"t"):
            assert (await raw.answer())[0] in (0, 408)
        assert TIMEOUT - 1 < time.monotonic() - started < TIMEOUT + 3
        # One whose first head came in pieces, but came, may be idle for longer.
        await idle.post(GOOD)
        assert (await idle.answer())[0] == 200


async def test_a_client_that_begins_a_head_and_stalls_is_given_up(client: Client) -> None:
    begun = b"POST /invocations HTTP/1.1\r\nHost: t"
    whole = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        fresh = [await RawClient.open(client.port, begun) for _ in range(20)]
        others = [await RawClient.open(client.port, whole) for _ in range(20)]
        for raw in (*fresh, *others):
            await stack.enter_async_context(raw)
        for raw in others:
            assert (await raw.answer())[0] == 200
            await raw.send(begun)
        for raw in (*fresh, *others):
            assert (await raw.answer())[0] in (0, 408)
    assert time.monotonic() - started < TIMEOUT + 3


async def test_an_empty_line_behind_a_body_begins_no_head(raw: RawClient) -> None:
    await raw.post(GOOD)
    assert (await raw.answer())[0] == 200
    await raw.send(b"\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(TIMEOUT + 0.5):
            await raw.closed()
    await raw.post(GOOD)
    assert (await raw.answer())[0] == 200


async def test_requests_behind_each_other_are_answered_in_order(raw: RawClient) -> None:
    live = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"
    post = b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%b"
    one = post % (len(GOOD), GOOD) + live + post % (70_000, GOOD.ljust(70_000)) + post % (0, b"")
    # aiohttp's own queue holds fewer.
    sending = asyncio.create_task(raw.send(one * 300))
    for _ in range(300):
        assert [(await raw.answer())[0] for _ in range(4)] == [200, 200, 200, 400]
    await sending


async def test_a_longer_body_than_said_does_not_become_the_next_answer(raw: RawClient) -> None:
    await raw.post(GOOD + b"garbage\r\n\r\n", length=len(GOOD))
    answers = [(await raw.answer())[0], (await raw.answer())[0]]
    # What arrives in one piece is refused as a whole.
    assert answers in ([200, 400], [200, 0], [400, 0])


@pytest.mark.parametrize(
    "request_head",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: -5\r\n\r\n",
        (
            b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ],
    ids=["garbage", "tls", "negative length", "two lengths"],
)
async def test_what_is_not_http_is_refused_in_json(raw: RawClient, request_head: bytes) -> None:
    await raw.send(request_head)
    assert_refused(await raw.answer(), 400)
    assert await raw.closed()


async def test_more_requests_than_connections_allowed_are_refused_in_json(client: Client) -> None:
    async with AsyncExitStack() as stack:

        async def connect(first: bytes = b"") -> RawClient:
            return await stack.enter_async_context(await RawClient.open(client.port, first))

        raws = [await connect() for _ in range(50)]
        for raw in raws:
            # Its body is not whole: none of these is idle.
            await raw.post(GOOD[:-1], length=len(GOOD))

        async def one_more() -> tuple[int, bytes]:
            raw = await connect(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            return await raw.answer()

        async def refused() -> bool:
            return (await one_more())[0] != 200

        await eventually(refused, "all are under way")
        assert_refused(await one_more(), 503)
        for raw in raws:
            await raw.send(GOOD[-1:])
        assert {(await raw.answer())[0] for raw in raws} == {200}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"instances": [' + b"1" * 1_000_000 + b"]}",
        b'{"instances": ["\\ud800"]}',
        b'{"instances": ["\xff\xfe"]}',
        b'{"instances": ["a\x00b"]}',
        b'{"instances": ["a\\u0000b"]}',
        b"",
        b"null",
        b'"text"',
        b"\xef\xbb\xbf" + b'{"instances": }',
    ],
    ids=[
        "deep",
        "deep and closed",
        "a million digits",
        "lone surrogate",
        "invalid UTF-8",
        "NUL byte",
        "escaped NUL",
        "empty",
        "null",
        "string",
        "BOM",
    ],
)
async def test_hostile_json_gets_an_answer(raw: RawClient, body: bytes) -> None:
    await raw.post(body)
    status, answer = await raw.answer()
    assert status in (200, 400)
    json.loads(answer)


async def test_the_last_of_duplicate_keys_counts(raw: RawClient) -> None:
    await raw.post(b'{"instances": 5, "instances": ["some text"]}')
    assert await raw.answer() == (200, b'{"predictions":["fine"]}')


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
REQUESTS = JSON_VALUES | st.dictionaries(
    st.sampled_from(
        ["instances", "inputs", "dataframe_split", "dataframe_records", "params", "prompt"]
    ),
    JSON_VALUES
    | st.fixed_dictionaries({"columns": JSON_VALUES, "data": JSON_VALUES})
    | st.lists(st.dictionaries(st.just("text"), JSON_VALUES)),
    max_size=2,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(value=REQUESTS)
async def test_any_json_value_gets_an_answer_in_json(client: Client, value: Any) -> None:
    answer = await client.predict(json.dumps(value).encode())
    assert answer.status in (200, 400, 413, 415)
    json.loads(answer.body)
