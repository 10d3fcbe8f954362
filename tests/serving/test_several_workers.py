"""WORKERS=2: both work, a swap replaces both, and one goes on where the other died."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.live import Live
from tests.support.load import Load, load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import wait_until

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
def two(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server with two workers."""
    registry.create("two")
    registry.promote("two", registry.add("two", saved.saying("first")))
    server = Server(
        tmp_path_factory.mktemp("two"),
        MODEL_URI="models:/two/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        WORKERS="2",
    )
    server.wait_healthy()
    yield Live(server, registry, "two", saved)
    server.close()


def who_answered(clients: Load, version: str) -> set[int]:
    """The process ids in the answers of a version that says them."""
    return {int(body.split(b'"')[3]) for body in clients.answers_of(version)}


def alive(server: Server) -> list[int]:
    """The process ids of the workers that can answer."""
    return [w["pid"] for w in server.info()["workers"] if w["state"] in ("idle", "busy")]


async def test_requests_go_to_both(two: Live) -> None:
    version = await asyncio.to_thread(two.serve, two.saved.save(WHO))
    pids = two.server.worker_pids()
    async with load(two.server.url, TEXT_REQUEST, clients=8) as clients:
        await clients.answered(50)
    assert clients.failures == []
    assert len(pids) == 2
    assert who_answered(clients, version) == set(pids)


async def test_a_swap_under_load_replaces_both_without_a_failed_request(two: Live) -> None:
    server = two.server
    old = await asyncio.to_thread(two.serve, "old")
    new = two.add("new")
    before, mark = server.worker_pids(), server.mark()
    async with load(server.url, TEXT_REQUEST, clients=32) as clients:
        await clients.answered(50)
        swap = await asyncio.to_thread(two.swap_to, new)
        await asyncio.to_thread(server.wait_for, "release_retired", since=mark, version=f"v{old}")
        await clients.answered(50)
    assert clients.failures == []
    assert clients.versions == {old, new}
    assert clients.versions_sent_after(swap.read_at) == {new}
    assert len(set(server.worker_pids()) - set(before)) == 2
    assert not any(psutil.pid_exists(pid) for pid in before)
    assert len(server.release_directories()) == 1


async def test_a_killed_worker_is_replaced_while_the_other_serves(
    two: Live, tmp_path: Path
) -> None:
    server, hold = two.server, tmp_path / "hold"
    model = two.saved.save(WHO, load=HELD_UP.format(path=str(hold)))
    version = await asyncio.to_thread(two.serve, model)
    mark = server.mark()
    killed, other = server.worker_pids()
    hold.touch()
    async with load(server.url, TEXT_REQUEST, clients=8) as clients:
        await clients.answered(20)
        os.kill(killed, signal.SIGKILL)
        await asyncio.to_thread(server.wait_for, "worker_exited", since=mark, pid=killed)
        async with load(server.url, TEXT_REQUEST, clients=8) as meanwhile:
            await meanwhile.answered(50)
        assert alive(server) == [other]
        assert server.get("/health").status == 200
        hold.unlink()
        replaced = await asyncio.to_thread(server.wait_for, "worker_replaced", since=mark)
        await clients.answered(50)
    assert clients.failures == meanwhile.failures == []
    assert who_answered(meanwhile, version) == {other}
    assert who_answered(clients, version) == {killed, other, replaced["pid"]}
    await asyncio.to_thread(
        wait_until, lambda: set(alive(server)) == {other, replaced["pid"]}, "both work"
    )
