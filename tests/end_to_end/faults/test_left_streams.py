"""Clients that leave streams, or do not read them, leave nothing behind and fill nothing."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import psutil
import pytest

from tests.support.live import Live, serving
from tests.support.load import load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, only_root
from tests.support.streams import connection, failure, streaming
from tests.support.waiting import eventually
from tests.support.waiting_models import State, chunk, save_waiting, told, told_to_stream

pytestmark = pytest.mark.faults

MEBIBYTE = 1024 * 1024
TIMES = 100


@pytest.fixture(scope="module", params=[False, True], ids=["generator", "asynchronous generator"])
def live(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    registry: Registry,
    saved: SavedModels,
) -> Iterator[Live]:
    """A server of a model that streams what it is told."""
    model = save_waiting(saved, streams=True, asynchronous=request.param)
    with serving(
        tmp_path_factory.mktemp("streams"),
        registry,
        saved,
        f"streams-{request.param}",
        model,
        CONCURRENCY="16",
        POLL_INTERVAL_SECONDS="0",
        # Others' versions can't be what is measured.
        WORKERS="1",
    ) as live:
        yield live


async def state(server: Server) -> State:
    """What the one worker says of itself."""
    return State.of((await asyncio.to_thread(server.predict, State.ASKED)).body)


async def none_is_open(server: Server) -> State:
    """Wait until every generator has ended or was closed."""

    async def none() -> State | None:
        found = await state(server)
        return None if found.open else found

    found = await eventually(none, "every generator is closed", 10)
    assert found is not None
    return found


class Held(NamedTuple):
    """Threads and descriptors of the gateway and of the worker."""

    gateway_threads: int
    gateway_files: int
    worker_threads: int
    worker_files: int


async def held(server: Server) -> Held:
    """Count them, once every generator is closed."""
    gateway, worker = psutil.Process(server.pid), await none_is_open(server)
    return Held(gateway.num_threads(), gateway.num_fds(), worker.threads, worker.files)


async def no_more_is_held(server: Server, before: Held) -> None:
    """Wait until no more is held than before."""

    async def is_so() -> bool:
        now = await held(server)
        return all(n <= b for n, b in zip(now, before, strict=True))

    await eventually(is_so, f"{before}", 10)


@only_root
async def test_a_hundred_clients_that_leave_after_two_chunks_leave_nothing_behind(
    live: Live,
) -> None:
    server = live.server
    plan = told_to_stream(chunks=1000, sleep=0.01)

    async def leave_after_two() -> None:
        async with streaming(server.port, plan) as stream:
            assert [await stream.event(), await stream.event()] == [chunk(0), chunk(1)]

    # What there is once, there is now.
    await asyncio.gather(*(leave_after_two() for _ in range(16)))
    before, first = await held(server), await none_is_open(server)
    made = []
    for _ in range(TIMES):
        started = (await none_is_open(server)).made
        await leave_after_two()
        made.append((await none_is_open(server)).made - started)
    await no_more_is_held(server, before)
    assert (await state(server)).closed - first.closed == TIMES
    # Two were read, and one was under way; on a busy machine, the news may take longer.
    assert sorted(made)[TIMES * 9 // 10] <= 3
    assert max(made) <= 10


@only_root
async def test_clients_that_leave_all_at_once_leave_nothing_behind(live: Live) -> None:
    server = live.server
    plan = told_to_stream(chunks=1000, sleep=0.005)
    before = await held(server)
    for _ in range(4):
        async with AsyncExitStack() as stack:
            for _ in range(16):
                stream = await stack.enter_async_context(connection(server.port))
                await stream.post(plan)
                # Half of them wait for a slot, and are not even begun with.
                await stack.enter_async_context(connection(server.port))
            await stream.begin_well()
            assert await stream.event() == chunk(0)
    await no_more_is_held(server, before)


def memory(server: Server) -> int:
    """Bytes that would be freed if the gateway ended."""
    found: int = psutil.Process(server.pid).memory_full_info().uss
    return found


@only_root
async def test_a_client_that_reads_nothing_holds_up_the_generator_and_fills_no_memory(
    live: Live,
) -> None:
    server = live.server
    before, first = memory(server), await none_is_open(server)
    size, count = 100_000, 5_000
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                streaming(server.port, told_to_stream(chunks=count, size=size))
            )
            for _ in range(4)
        ]
        seen = -1

        async def none_is_made_any_more() -> bool:
            nonlocal seen
            last, seen = seen, (await state(server)).made
            # Each look takes a request of its own, and many chunks could be made meanwhile.
            await asyncio.to_thread(server.predict, told(sleep=0.2))
            return last == seen

        await eventually(none_is_made_any_more, "the generators are held up", 30)
        made = seen - first.made
        # The kernel holds some megabytes of each connection, and the client's library some more.
        assert 0 < made * size < 4 * 32 * MEBIBYTE
        assert memory(server) - before < 4 * 8 * MEBIBYTE
        # Who reads goes on, and gets all in order.
        for number in range(200):
            assert (await streams[0].event())["number"] == number
    after = await none_is_open(server)
    assert after.made - first.made < count
    assert after.closed - first.closed == 4


@only_root
async def test_a_slow_reader_gets_everything(live: Live) -> None:
    server = live.server
    before = memory(server)
    async with streaming(server.port, told_to_stream(chunks=500, size=100_000)) as stream:
        for number in range(500):
            assert await stream.event() == chunk(number, size=100_000)
        assert await stream.rest() == []
    assert memory(server) - before < 16 * MEBIBYTE


async def test_two_hundred_streams_at_a_time_are_all_whole(live: Live) -> None:
    server = live.server
    before = memory(server)

    async def one(number: int) -> None:
        async with streaming(server.port, told_to_stream(chunks=10, sleep=0.01, echo=number)) as s:
            assert await s.rest() == [chunk(n, echo=number) for n in range(10)]

    await asyncio.gather(*(one(number) for number in range(200)))
    assert memory(server) - before < 32 * MEBIBYTE


async def test_streams_end_in_order_or_with_an_error_while_workers_are_killed(live: Live) -> None:
    server = live.server
    whole = 0

    async def stream_on() -> None:
        nonlocal whole
        async with connection(server.port) as stream:
            while whole < 100:
                await stream.post(told_to_stream(chunks=5, sleep=0.02))
                await stream.begin()
                if stream.status != 200:
                    assert stream.status in (500, 503)
                    await stream.body()
                    continue
                *made, last = await stream.rest()
                if "error" in last:
                    assert made == [chunk(n) for n in range(len(made))]
                    assert failure(last)[0] == "INTERNAL_ERROR"
                else:
                    assert [*made, last] == [chunk(n) for n in range(5)]
                    whole += 1

    mark = server.mark()
    async with load(server.url, TEXT_REQUEST, clients=2) as clients, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(stream_on())
        for count in (1, 2):
            await clients.answered(5)
            async with streaming(server.port, told_to_stream(gate="/none", gate_at=1)) as stream:
                assert await stream.event() == chunk(0)
                await asyncio.to_thread(server.hit, "worker", signal.SIGKILL)
                (last,) = await stream.rest()
                assert failure(last)[0] == "INTERNAL_ERROR"
            await asyncio.to_thread(server.wait_for, "worker_replaced", since=mark, count=count)
    assert clients.failures == []
    await none_is_open(server)
