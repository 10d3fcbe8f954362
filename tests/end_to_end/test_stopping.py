"""However the gateway ends, requests in flight are answered if that is possible at all, and no
process is left behind."""

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, ended
from tests.support.streams import ask, failure, streaming
from tests.support.waiting import eventually, wait_until
from tests.support.waiting_models import State, chunk, save_waiting, told, told_to_stream

# Answers as soon as the file that a request names exists; other texts, which a new version is
# tried with, at once.
WAIT_FOR_FILE = """
    import pathlib, time
    for name in model_input["text"]:
        while name.startswith("/") and not pathlib.Path(name).exists():
            time.sleep(0.01)
    return ["answered"] * len(model_input)
"""

LOAD_FOR_EVER = """
    import pathlib, time
    pathlib.Path({reached!r}).touch()
    while True:
        time.sleep(0.01)
"""


@pytest.fixture
def waiting(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> Server:
    """A server whose model answers a request once the file that it names exists."""
    registry.create(model_name)
    path = saved.save(WAIT_FOR_FILE)
    registry.promote(model_name, registry.add(model_name, path))
    server = start_server(
        f"models:/{model_name}/Production",
        DRAIN_TIMEOUT_SECONDS="20",
        # Versions say by a file that they are being loaded.
        SANDBOX_WRITABLE=str(tmp_path),
    )
    server.wait_healthy()
    return server


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_requests_in_flight_are_answered_before_the_end(
    waiting: Server, tmp_path: Path, how: str
) -> None:
    family = waiting.processes()
    file = tmp_path / "file"
    body = {"instances": [str(file)]}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(waiting.predict, body) for _ in range(8)]
        wait_until(waiting.is_busy, "a worker predicts")
        wait_until(lambda: waiting.connections() == 8, "every request has been sent")
        if how == "SIGTERM":
            waiting.signal(signal.SIGTERM)
        else:
            # A terminal signals every process of the foreground's group.
            os.killpg(waiting.pid, signal.SIGINT)
        waiting.wait_for("server_stopping")
        file.touch()
        answers = [call.result() for call in calls]

    assert [answer.status for answer in answers] == [200] * 8
    assert waiting.wait_exit() == 0
    assert waiting.events[-1]["event"] == "server_stopped"
    assert not [line for line in waiting.lines if "Traceback" in line]
    wait_until(lambda: ended(family), "no process is left", 5)
    assert list(waiting.scratch.iterdir()) == []


async def test_what_a_model_that_waits_has_in_flight_is_finished_before_the_end(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    registry.create(model_name)
    path = save_waiting(saved, streams=True)
    registry.promote(model_name, registry.add(model_name, path))
    uri = f"models:/{model_name}/Production"
    server = await asyncio.to_thread(start_server, uri, CONCURRENCY="16")
    await asyncio.to_thread(server.wait_healthy)
    family = server.processes()
    gate = str(tmp_path / "gate")

    async with AsyncExitStack() as stack:
        plan = told_to_stream(chunks=4, gate=gate, gate_at=2)
        streams = [await stack.enter_async_context(streaming(server.port, plan)) for _ in range(4)]
        for stream in streams:
            assert await stream.event() == chunk(0)
        bodies = [told(gate=gate, echo=number) for number in range(8)]
        calls = [asyncio.create_task(ask(server.port, body)) for body in bodies]

        async def all_are_under_way() -> bool:
            answer = await asyncio.to_thread(server.predict, State.ASKED)
            return State.of(answer.body).now == 8

        await eventually(all_are_under_way, "all are under way")
        server.signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for, "server_stopping")
        Path(gate).touch()
        assert [await stream.rest() for stream in streams] == [[chunk(n) for n in (1, 2, 3)]] * 4
        answers = [await call for call in calls]

    assert answers == [(200, {"predictions": [number]}) for number in range(8)]
    assert await asyncio.to_thread(server.wait_exit) == 0
    assert server.events[-1]["event"] == "server_stopped"
    assert not [line for line in server.lines if "Traceback" in line]
    await asyncio.to_thread(wait_until, lambda: ended(family), "no process is left", 5)


@pytest.fixture
def streams(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> Server:
    """A server of a model that streams, which gives streams little time to end."""
    registry.create(model_name)
    path = save_waiting(saved, streams=True)
    registry.promote(model_name, registry.add(model_name, path))
    uri = f"models:/{model_name}/Production"
    server = start_server(uri, CONCURRENCY="8", DRAIN_TIMEOUT_SECONDS="0.5")
    server.wait_healthy()
    return server


ENDLESS = (
    told_to_stream(chunks=1_000_000, sleep=0.02),
    # More than its client takes.
    told_to_stream(chunks=1_000_000, size=100_000),
    told_to_stream(gate="/there/is/no/such/file", gate_at=1),
)


@pytest.mark.faults
async def test_streams_without_end_do_not_keep_it_from_ending(streams: Server) -> None:
    family = streams.processes()
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(streaming(streams.port, plan)) for plan in ENDLESS
        ]
        for stream in opened:
            assert (await stream.event())["number"] == 0
        began = time.monotonic()
        streams.signal(signal.SIGTERM)
        for stream in opened:
            *_, error = await stream.rest()
            assert failure(error)[0] == "TEMPORARILY_UNAVAILABLE"
    assert await asyncio.to_thread(streams.wait_exit) == 0
    # A worker that does not end by itself gets 4 s.
    assert time.monotonic() - began < 6
    assert ended(family)


@pytest.mark.faults
async def test_killed_in_the_midst_of_streams_it_leaves_no_process(streams: Server) -> None:
    family = streams.processes()
    async with AsyncExitStack() as stack:
        for plan in ENDLESS:
            stream = await stack.enter_async_context(streaming(streams.port, plan))
            assert (await stream.event())["number"] == 0
        streams.signal(signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: ended(family), "no process is left", 10)


@pytest.mark.faults
@pytest.mark.parametrize("sharing", ["auto", "off"])
def test_a_prediction_that_hangs_does_not_keep_it_from_ending(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    path = saved.save(WAIT_FOR_FILE)
    registry.promote(model_name, registry.add(model_name, path))
    server = start_server(f"models:/{model_name}/Production", DRAIN_TIMEOUT_SECONDS="0.5")
    server.wait_healthy()
    family = server.processes()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, {"instances": ["/there/is/no/such/file"]})
        wait_until(server.is_busy, "a worker predicts")
        began = time.monotonic()
        assert server.stop() == 0
        # A worker that does not end by itself gets 4 s.
        assert time.monotonic() - began < 6
        assert call.result().status == 503
        assert call.result().headers["retry-after"]
    wait_until(lambda: ended(family), "no process is left", 5)


@pytest.mark.faults
@pytest.mark.parametrize("sharing", ["auto", "off"])
def test_killed_it_leaves_no_process_and_the_next_one_removes_its_files(
    waiting: Server,
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    reached = tmp_path / "reached"
    loading = saved.save("return []", load=LOAD_FOR_EVER.format(reached=str(reached)))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(waiting.predict, {"instances": ["/there/is/no/such/file"]})
        wait_until(waiting.is_busy, "one worker predicts")
        registry.promote(model_name, registry.add(model_name, loading))
        wait_until(reached.exists, "another one loads")
        family = waiting.processes()
        waiting.signal(signal.SIGKILL)
        assert call.exception() is not None
    wait_until(lambda: ended(family), "no process is left", 10)
    assert waiting.release_directories() != []

    registry.promote(model_name, registry.add(model_name, saved.saying("next")))
    following = start_server(f"models:/{model_name}/Production")
    following.wait_healthy()
    assert len(following.release_directories()) == 1


@pytest.mark.parametrize("serves", [False, True])
def test_a_load_under_way_is_given_up(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
    serves: bool,
) -> None:
    reached = tmp_path / "reached"
    loading = saved.save("return []", load=LOAD_FOR_EVER.format(reached=str(reached)))
    registry.create(model_name)
    if serves:
        registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    server = start_server(f"models:/{model_name}/Production", SANDBOX_WRITABLE=str(tmp_path))
    if serves:
        server.wait_healthy()
    registry.promote(model_name, registry.add(model_name, loading))
    wait_until(reached.exists, "the version is being loaded")
    family = server.processes()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.reload)
        wait_until(lambda: server.connections() == 1, "somebody waits for another load")
        if serves:
            assert server.predict(TEXT_REQUEST).status == 200
        assert server.stop() == 0
        assert call.result().status == 503
    wait_until(lambda: ended(family), "no process is left", 5)
    assert list(server.scratch.iterdir()) == []
    assert server.find("reload_failed") == []
    assert not [line for line in server.lines if "Traceback" in line]


def has_more_processes(server: Server, number: int) -> bool:
    """Whether the server has come that far in its start."""
    return len(server.processes()) > number


@pytest.mark.faults
def test_a_signal_right_after_the_start_ends_it_in_order(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    for children in (0, 2, 3):
        server = start_server(f"models:/{model_name}/Production")
        wait_until(partial(has_more_processes, server, children), "so far has it come")
        family = server.processes()
        assert server.stop() == 0
        assert server.events[-1]["event"] == "server_stopped"
        assert not [line for line in server.lines if "Traceback" in line]
        wait_until(partial(ended, family), "no process is left", 5)
        assert list(server.scratch.iterdir()) == []
