"""What becomes of streams while versions, workers and clients come and go."""

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.load import load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.streams import EventStream, connection, failure, streaming
from tests.support.waiting import eventually
from tests.support.waiting_models import (
    chunk,
    none_is_open,
    save_waiting,
    state,
    told,
    told_to_stream,
)

PATIENCE = 1.5


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway of a model that streams what it is told."""
    return await start_gateway(save_waiting(saved, streams=True), concurrency=16)


@pytest.fixture(scope="module")
async def impatient(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """One that gives a chunk little time."""
    model = save_waiting(saved, streams=True)
    return await start_gateway(model, concurrency=16, request_timeout_seconds=PATIENCE)


@pytest.fixture(scope="module")
async def asynchronous(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """Another one, of a model whose stream is an asynchronous generator."""
    model = save_waiting(saved, streams=True, asynchronous=True)
    return await start_gateway(model, concurrency=16, request_timeout_seconds=PATIENCE)


@pytest.fixture(params=["generator", "asynchronous generator"])
async def either(
    request: pytest.FixtureRequest, impatient: Gateway, asynchronous: Gateway, connect: Connect
) -> Client:
    """A client of each of those."""
    return await connect(impatient if request.param == "generator" else asynchronous)


async def test_swaps_leave_each_stream_to_the_version_that_it_began_with(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gates = {word: tmp_path / word for word in ("first", "second")}
    versions: dict[str, str] = {}
    streams: list[tuple[str, EventStream]] = []
    async with AsyncExitStack() as stack:
        for word, gate in gates.items():
            model = save_waiting(gateway.saved, word, streams=True)
            versions[word] = await gateway.serve(model)
            for _ in range(4):
                plan = told_to_stream(chunks=4, gate=str(gate), gate_at=2)
                stream = await stack.enter_async_context(streaming(client.port, plan))
                assert stream.version == versions[word]
                assert await stream.event() == chunk(0, word)
                streams.append((word, stream))
        last = await gateway.serve(save_waiting(gateway.saved, "last", streams=True))
        swapped = time.monotonic()
        async with load(client.url, TEXT_REQUEST, clients=4) as clients:
            await clients.answered(20)
            async with streaming(client.port, told_to_stream()) as stream:
                assert stream.version == last
                assert await stream.rest() == [chunk(n, "last") for n in range(3)]
        assert clients.failures == []
        assert clients.versions_sent_after(swapped) == {last}
        assert log.find("release_retired", version=f"v{versions['first']}") == []

        for word, gate in gates.items():
            gate.touch()
            for begun, stream in streams:
                if begun == word:
                    assert await stream.rest() == [chunk(n, word) for n in range(1, 4)]
            await log.wait_for("release_retired", version=f"v{versions[word]}")
    assert log.find("drain_timed_out") == []


async def test_who_asked_a_version_that_can_not_stream_is_answered_whole_by_one_that_can(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, tmp_path: Path
) -> None:
    # Else the second would go to the worker ahead of time.
    gateway = await start_gateway(save_waiting(saved, "old"), concurrency=1, batching="off")
    client = await connect(gateway)
    gate = tmp_path / "gate"
    held = asyncio.create_task(client.predict(told(gate=str(gate), echo="held")))

    async def busy() -> bool:
        return any(worker["state"] == "busy" for worker in (await client.info())["workers"])

    async def waiting() -> bool:
        release = gateway.deployment.release
        return release is not None and release.waiting == 1

    await eventually(busy, "the worker holds the first")
    queued = asyncio.create_task(client.predict({"instances": ["{}"], "stream": True}))
    await eventually(waiting, "the second waits")
    new = await gateway.serve(save_waiting(saved, "new", streams=True))
    answer = await queued
    assert (answer.status, answer.json) == (200, {"predictions": ["new"]})
    assert answer.headers["x-model-version"] == new
    gate.touch()
    assert (await held).json == {"predictions": ["held"]}


async def test_streams_come_whole_through_swaps_under_load(
    client: Client, gateway: Gateway
) -> None:
    versions = {}
    for word in ("one", "two"):
        versions[word] = gateway.add(save_waiting(gateway.saved, word, streams=True))
    await gateway.swap_to(versions["one"])
    running, begun = True, 0

    async def stream_on(number: int) -> None:
        nonlocal begun
        async with connection(client.port) as stream:
            while running:
                await stream.post(told_to_stream(chunks=10, sleep=0.01, echo=number))
                await stream.begin_well()
                begun += 1
                (word,) = [word for word, version in versions.items() if version == stream.version]
                assert await stream.rest() == [chunk(n, word, number) for n in range(10)]

    async def so_many_more_have_begun(count: int) -> None:
        target = begun + count

        async def have() -> bool:
            return begun >= target

        await eventually(have, "more streams", 20)

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(stream_on(number))
        for word in ("two", "one", "two"):
            await so_many_more_have_begun(10)
            await gateway.swap_to(versions[word])
        await so_many_more_have_begun(10)
        running = False


async def test_streams_that_outlast_the_drain_are_cut_with_an_error(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, log: Log
) -> None:
    gateway = await start_gateway(
        save_waiting(saved, "old", streams=True), concurrency=8, drain_timeout_seconds=0.5
    )
    client = await connect(gateway)
    endless = told_to_stream(chunks=100_000, sleep=0.05)
    async with (
        streaming(client.port, endless) as first,
        streaming(client.port, endless) as second,
    ):
        waits = asyncio.create_task(client.predict(told(sleep=60)))

        async def all_are_under_way() -> bool:
            found = await state(client)
            return (found.open, found.now) == (2, 1)

        await eventually(all_are_under_way, "all are under way")
        old = await gateway.serve("new")
        for stream in (first, second):
            *made, error = await stream.rest()
            assert made == [chunk(n, "old") for n in range(len(made))]
            assert failure(error)[0] == "TEMPORARILY_UNAVAILABLE"
        assert (await waits).status == 503
    timed_out = await log.wait_for("drain_timed_out")
    assert (timed_out["unanswered"], timed_out["streams"]) == (3, 2)
    await log.wait_for("release_retired", version="v1")
    assert (await client.predict(TEXT_REQUEST)).version == old


@pytest.mark.parametrize("how", ["killed", "ends"])
async def test_a_worker_that_dies_ends_its_streams_with_an_error(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path, how: str
) -> None:
    await gateway.serve(save_waiting(gateway.saved, streams=True))
    (pid,) = await client.worker_pids()
    gate = tmp_path / "gate"
    plan = told_to_stream(chunks=5, gate=str(gate), gate_at=2, die_at=3)
    async with (
        streaming(client.port, plan) as first,
        streaming(client.port, told_to_stream(chunks=5, gate="/none", gate_at=2)) as second,
    ):
        for stream in (first, second):
            assert [await stream.event(), await stream.event()] == [chunk(0), chunk(1)]
        if how == "killed":
            os.kill(pid, signal.SIGKILL)
        else:
            gate.touch()
        for stream in (first, second):
            *made, error = await stream.rest()
            # One was let through its gate.
            assert made in ([], [chunk(2)])
            assert failure(error)[0] == "INTERNAL_ERROR"
        # Both connections are as good as ever, and nothing of the stream comes after its end.
        for stream in (first, second):
            await stream.post(told(echo="next"))
            await stream.begin()
            assert (stream.status, await stream.body()) == (200, b'{"predictions":["next"]}')
    ended = await log.wait_for("worker_exited", pid=pid)
    assert ended.get("signal") == ("SIGKILL" if how == "killed" else None)


async def test_a_worker_that_dies_before_the_first_chunk_is_asked_once_more(
    client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    await gateway.serve(save_waiting(gateway.saved, streams=True))
    gate = tmp_path / "gate"
    async with connection(client.port) as stream:
        await stream.post(told_to_stream(gate=str(gate)))

        async def has_begun() -> bool:
            return (await state(client)).open == 1

        await eventually(has_begun, "it is asked")
        (pid,) = await client.worker_pids()
        os.kill(pid, signal.SIGKILL)
        gate.touch()
        await stream.begin_well()
        assert await stream.rest() == [chunk(n) for n in range(3)]


async def test_a_stream_that_kills_its_worker_at_once_fails_alone(
    client: Client, gateway: Gateway
) -> None:
    await gateway.serve(save_waiting(gateway.saved, streams=True))
    killer, *others = await asyncio.gather(
        client.predict(told_to_stream(die_at=0, sleep=0.1)),
        *(client.predict(told(echo=n, sleep=0.2)) for n in range(4)),
    )
    assert (killer.status, killer.json["error_code"]) == (500, "INTERNAL_ERROR")
    assert [a.json for a in others] == [{"predictions": [n]} for n in range(4)]


async def test_time_is_counted_from_chunk_to_chunk(either: Client) -> None:
    plan = told_to_stream(chunks=2, sleep=PATIENCE * 0.4)
    began = time.monotonic()
    async with streaming(either.port, plan) as stream:
        assert await stream.rest() == [chunk(0), chunk(1)]
    assert time.monotonic() - began > PATIENCE * 1.2


@pytest.mark.parametrize("at", [0, 2], ids=["first", "later"])
async def test_a_chunk_that_takes_too_long_ends_its_stream_alone(
    impatient: Gateway, connect: Connect, log: Log, at: int
) -> None:
    client = await connect(impatient)
    (pid,) = await client.worker_pids()
    async with (
        streaming(client.port, told_to_stream(chunks=12, sleep=0.15)) as other,
        connection(client.port) as stream,
    ):
        await stream.post(told_to_stream(hang_at=at))
        if at == 0:
            await stream.begin()
            assert stream.status == 504
            error = await stream.body()
            assert b"DEADLINE_EXCEEDED" in error
        else:
            await stream.begin_well()
            *made, error = await stream.rest()
            assert made == [chunk(0), chunk(1)]
            assert failure(error)[0] == "DEADLINE_EXCEEDED"
        assert await other.rest() == [chunk(n) for n in range(12)]
    replaced = await log.wait_for("worker_replaced")
    assert replaced["old_pid"] == pid
    assert (await client.predict(TEXT_REQUEST)).status == 200


@pytest.mark.parametrize("takes", [True, False], ids=["between chunks", "in the midst of one"])
async def test_a_generator_that_hangs_costs_a_slot_for_no_longer_where_its_client_has_left(
    impatient: Gateway, connect: Connect, log: Log, takes: bool
) -> None:
    client = await connect(impatient)
    (pid,) = await client.worker_pids()
    # The sockets do not hold a chunk of the second size.
    plan = told_to_stream(hang_at=1, size=0 if takes else 50_000_000)
    async with streaming(client.port, plan) as stream:
        if takes:
            assert await stream.event() == chunk(0)
    await log.wait_for("worker_replaced", PATIENCE * 4, old_pid=pid)
    assert (await client.predict(TEXT_REQUEST)).status == 200


async def test_one_who_leaves_while_the_generator_waits_has_it_closed_then(
    client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    before = await none_is_open(client)
    gate = tmp_path / "gate"
    plan = told_to_stream(chunks=1000, gate=str(gate), gate_at=1)
    async with streaming(client.port, plan) as stream:
        assert await stream.event() == chunk(0)
    found = await state(client)
    assert (found.open, found.made) == (1, before.made + 1)
    gate.touch()
    after = await none_is_open(client)
    # It can't be stopped in the midst of what it waits for, but makes no more than that one.
    assert after.made - before.made <= 2


async def test_one_who_has_left_holds_up_no_swap(
    client: Client, gateway: Gateway, log: Log
) -> None:
    old = await gateway.serve(save_waiting(gateway.saved, streams=True))
    async with streaming(client.port, told_to_stream(gate="/none", gate_at=1)) as stream:
        assert await stream.event() == chunk(0)
    await gateway.serve(save_waiting(gateway.saved, streams=True))
    # Its generator does not come back, and its process has to be ended.
    await log.wait_for("release_retired", 10, version=f"v{old}")
    assert log.find("drain_timed_out") == []


async def test_one_who_leaves_ends_an_asynchronous_generator_s_wait(
    asynchronous: Gateway, connect: Connect
) -> None:
    client = await connect(asynchronous)
    before = await none_is_open(client)
    async with streaming(client.port, told_to_stream(gate="/none", gate_at=1)) as stream:
        assert await stream.event() == chunk(0)
    left = time.monotonic()
    after = await none_is_open(client)
    assert time.monotonic() - left < PATIENCE / 2
    assert (after.closed - before.closed, after.made - before.made) == (1, 1)


async def test_one_who_leaves_the_queue_is_not_streamed_to(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, tmp_path: Path
) -> None:
    # Merged, one request would be taken ahead of time.
    settings = {"concurrency": 1, "batching": "off"}
    client = await connect(await start_gateway(save_waiting(saved, streams=True), **settings))
    gate = tmp_path / "gate"

    async def waiting() -> bool:
        metrics = (await client.get("/metrics")).body
        return b"\nmodel_server_queue 1" in metrics

    async def nobody_waits() -> bool:
        return not await waiting()

    async with streaming(client.port, told_to_stream(gate=str(gate), gate_at=1)) as stream:
        async with connection(client.port) as gone:
            await gone.post(told_to_stream())
            await eventually(waiting, "it waits")
        gate.touch()
        assert await stream.rest() == [chunk(n) for n in range(3)]
    found = await none_is_open(client)
    assert found.closed == 1
    await eventually(nobody_waits, "nobody waits")


async def test_a_version_that_streams_is_rehearsed_by_its_predict(
    client: Client, gateway: Gateway, log: Log
) -> None:
    await gateway.serve(save_waiting(gateway.saved, streams=True))
    swap = log.find("model_swapped")[-1]
    assert swap["rehearsed"] >= 1
    found: dict[str, Any] = (await client.info())["concurrency"]
    assert (found["slots"], found["streams"]) == (16, True)


# Has no regard for what its client has taken.
_FLOODS = """
    import gc
    (job,) = [o for o in gc.get_objects() if type(o).__name__ == "_Job"]
    for _ in range(1_000):
        job._gateway.send(8, job.number, b'"' + b"x" * 1_000_000 + b'"')
    yield "done"
"""


async def test_a_worker_that_sends_more_than_it_may_is_ended(
    client: Client, gateway: Gateway, log: Log
) -> None:
    floods = gateway.saved.save("return ['done'] * len(model_input)", stream=_FLOODS)
    await gateway.serve(floods)
    async with streaming(client.port, {**TEXT_REQUEST, "stream": True}) as stream:
        await log.wait_for("worker_protocol_error")
        *made, error = await stream.rest()
    assert set(made) <= {"x" * 1_000_000}
    assert failure(error)[0] == "INTERNAL_ERROR"
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["done"]}
