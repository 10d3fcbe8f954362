"""WORKERS=2: both work, a swap replaces both, and one goes on where the other died."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.load import Load, load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.server import ended
from tests.support.waiting import eventually

# Says which process answered, and takes long enough for the other worker to be asked as well.
WHO = """
    import os, time
    time.sleep(0.01)
    return [str(os.getpid())] * len(model_input)
"""

# Loading waits for as long as there is this file.
HELD_UP = """
    import pathlib, time
    while pathlib.Path({path!r}).exists():
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with two workers."""
    # Else the first would get them all.
    return await start_gateway("first", workers=2, concurrency=1)


def who_answered(clients: Load, version: str) -> set[int]:
    """The process ids in the answers of a version that says them."""
    return {int(body.split(b'"')[3]) for body in clients.answers_of(version)}


async def alive(client: Client) -> set[int]:
    """The process ids of the workers that can answer."""
    workers = (await client.info())["workers"]
    return {w["pid"] for w in workers if w["state"] in ("idle", "busy")}


async def test_requests_go_to_both(client: Client, gateway: Gateway) -> None:
    version = await gateway.serve(gateway.saved.save(WHO))
    pids = await client.worker_pids()
    async with load(client.url, TEXT_REQUEST, clients=8) as clients:
        await clients.answered(50)
    assert clients.failures == []
    assert len(pids) == 2
    assert who_answered(clients, version) == set(pids)


async def test_a_swap_under_load_replaces_both_without_a_failed_request(
    client: Client, gateway: Gateway, log: Log
) -> None:
    old = await gateway.serve("old")
    new = gateway.add("new")
    before = [psutil.Process(pid) for pid in await client.worker_pids()]
    async with load(client.url, TEXT_REQUEST, clients=32) as clients:
        await clients.answered(50)
        gateway.promote(new)
        await gateway.watcher.poll()
        swapped_at = time.monotonic()
        await log.wait_for("release_retired", version=f"v{old}")
        await clients.answered(50)
    assert clients.failures == []
    assert clients.versions == {old, new}
    assert clients.versions_sent_after(swapped_at) == {new}
    assert len(set(await client.worker_pids()) - {worker.pid for worker in before}) == 2
    assert ended(before)
    assert len(gateway.release_directories()) == 1


async def test_a_killed_worker_is_replaced_while_the_other_serves(
    start_gateway: StartGateway, connect: Connect, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway(workers=2, share_model="off")
    client = await connect(gateway)
    hold = tmp_path / "hold"
    model = gateway.saved.save(WHO, load=HELD_UP.format(path=str(hold)))
    version = await gateway.serve(model)
    killed, other = await client.worker_pids()
    hold.touch()
    async with load(client.url, TEXT_REQUEST, clients=8) as clients:
        await clients.answered(20)
        os.kill(killed, signal.SIGKILL)
        await log.wait_for("worker_exited", pid=killed)
        async with load(client.url, TEXT_REQUEST, clients=8) as meanwhile:
            await meanwhile.answered(50)
        assert await alive(client) == {other}
        assert (await client.get("/health")).status == 200
        hold.unlink()
        replaced = (await log.wait_for("worker_replaced"))["pid"]
        await clients.answered(50)
    assert clients.failures == meanwhile.failures == []
    assert who_answered(meanwhile, version) == {other}
    assert who_answered(clients, version) == {killed, other, replaced}

    async def both_work() -> bool:
        return await alive(client) == {other, replaced}

    await eventually(both_work, "both work")


async def test_a_version_that_was_replaced_gets_no_new_workers(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    waits = f"""
        import pathlib, time
        while model_input.text[0] == "wait" and not pathlib.Path({str(gate)!r}).exists():
            time.sleep(0.01)
        return ["old"] * len(model_input)
    """
    old = await gateway.serve(gateway.saved.save(waits))
    waiting = asyncio.create_task(client.predict({"instances": ["wait"]}))

    async def one_is_busy() -> bool:
        return "busy" in [worker["state"] for worker in (await client.info())["workers"]]

    await eventually(one_is_busy, "one of them has it")
    workers = (await client.info())["workers"]
    (idle,) = [worker["pid"] for worker in workers if worker["state"] == "idle"]
    await gateway.serve("new")
    os.kill(idle, signal.SIGKILL)
    await log.wait_for("worker_exited", pid=idle)
    gate.touch()
    assert (await waiting).version == old
    await log.wait_for("release_retired", version=f"v{old}")
    assert log.find("worker_replaced") == []


async def test_a_worker_that_shares_nothing_costs_the_gateway_three_descriptors(
    start_gateway: StartGateway,
) -> None:
    await start_gateway("first", workers=1, share_model="off")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number only
    await start_gateway("second", workers=4, share_model="off")

    async def few() -> bool:
        # Another gateway has a lock, and the channel and process of its look-up.
        return len(os.listdir("/proc/self/fd")) - before <= 4 * 3 + 3  # noqa: PTH208

    # The channel, the process, and what it prints.
    await eventually(few, "what the download needed is closed", 10)
