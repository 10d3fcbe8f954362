"""The environment process or a template is stopped or killed, at any step of a swap: predictions
go on, and so do swaps."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest

from tests.end_to_end.faults.gates import Gates
from tests.end_to_end.faults.models import text
from tests.end_to_end.faults.proxy import Delay, Proxy
from tests.support.live import Live, serving
from tests.support.load import load
from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry
from tests.support.server import Server, ended, status_of
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

WORKERS = 2
CLIENTS = 4
LOAD_TIMEOUT = 6.0
# A process that is stopped is found within a second; the start of another one takes some.
MOST_SECONDS = LOAD_TIMEOUT + 5 + 5
STEPS = ["idle", "download", "load", "rehearsal", "fork"]
LOST = [
    *[(name, step) for name in ("environment", "template") for step in STEPS],
    ("download", "download"),
]


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory,
    proxy: Proxy,
    http_registry: HttpRegistry,
    saved: SavedModels,
    gates: Gates,
) -> Iterator[Live]:
    """A server that downloads its model through the proxy."""
    with serving(
        tmp_path_factory.mktemp("lost"),
        http_registry,
        saved,
        "lost",
        gates.model(saved),
        MLFLOW_TRACKING_URI=proxy.url,
        WORKERS=str(WORKERS),
        LOAD_TIMEOUT_SECONDS=str(LOAD_TIMEOUT),
        DRAIN_TIMEOUT_SECONDS="3",
        **gates.settings,
    ) as live:
        yield live


def wait_in_order(server: Server) -> None:
    """Wait until there are the processes that there should be, each able to run."""
    expected = {"environment": 1, "lookup": 1, "template": 1, "worker": WORKERS}
    wait_until(lambda: server.reload().status == 200, "a reload works", 2 * MOST_SECONDS)
    try:
        wait_until(lambda: server.running() == expected, "each is there", 15)
    except AssertionError:
        assert server.running() == expected
    assert [p for p in server.processes() if status_of(p) == psutil.STATUS_STOPPED] == []


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize(("name", "step"), LOST)
async def test_predictions_go_on_and_so_do_swaps(
    live: Live, gates: Gates, healed: Proxy, name: str, number: signal.Signals, step: str
) -> None:
    server = live.server
    await asyncio.to_thread(wait_in_order, server)
    mark = server.mark()
    async with load(server.url, text("hello"), clients=CLIENTS) as clients:
        await clients.answered(2 * CLIENTS)
        with ExitStack() as held_up, ThreadPoolExecutor(1) as pool:
            if step == "download":
                healed.suffer(Delay(1.0), only=b"/mlflow-artifacts/")
            elif step != "idle":
                held_up.enter_context(gates.closed(step))
            started = time.monotonic()
            call = None if step == "idle" else pool.submit(server.reload)
            if step == "download":
                await asyncio.to_thread(
                    wait_until, lambda: server.named("download"), "it downloads"
                )
            elif step != "idle":
                await asyncio.to_thread(gates.wait_reached, step)
            lost = await asyncio.to_thread(server.hit, name, number)
            await clients.answered(2 * CLIENTS)
            held_up.close()
            answer = await asyncio.wrap_future(call or pool.submit(server.reload))
        took = time.monotonic() - started
        healed.heal()
        await asyncio.to_thread(wait_in_order, server)
        await clients.answered(2 * CLIENTS)

    print(f"{name} {number.name} at {step}: {answer.status} after {took:.1f} s: {answer.json}")
    assert [e.fields for e in server.find("request_crashed", mark)] == []
    assert [e.fields for e in server.find("swap_crashed", mark)] == []
    assert took < MOST_SECONDS
    assert clients.failures == []
    assert max(s.done - s.sent for s in clients.samples) < 3
    if number is signal.SIGKILL and (name == "environment" or step == "idle"):
        # What it had started lives on, and another one is started for what comes next.
        assert answer.status == 200, answer.json
    assert answer.status in (200, 500)
    assert ended(lost)
    assert server.find("version_given_up", mark) == []


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
@pytest.mark.parametrize("names", [["environment"], ["template"], ["environment", "template"]])
async def test_a_worker_killed_without_them_is_replaced(
    live: Live, names: list[str], number: signal.Signals
) -> None:
    server = live.server
    await asyncio.to_thread(wait_in_order, server)
    mark = server.mark()
    async with load(server.url, text("hello"), clients=CLIENTS) as clients:
        await clients.answered(2 * CLIENTS)
        for name in names:
            await asyncio.to_thread(server.hit, name, number)
        before = await asyncio.to_thread(server.worker_pids)
        os.kill(before[0], signal.SIGKILL)
        await asyncio.to_thread(
            server.wait_for, "worker_replaced", MOST_SECONDS, since=mark, old_pid=before[0]
        )
        await clients.answered(2 * CLIENTS)
        await asyncio.to_thread(wait_in_order, server)
    assert clients.failures == []
    # One that was stopped is killed, too.
    assert len(server.find("template_exited", mark)) == names.count("template")


def test_a_request_that_was_alone_in_a_worker_killed_without_a_template_is_answered(
    live: Live, gates: Gates
) -> None:
    server = live.server
    wait_in_order(server)
    with ThreadPoolExecutor(1) as pool, gates.closed("rehearsal"):
        call = pool.submit(server.predict, text("some text"))
        gates.wait_reached("rehearsal")
        (busy,) = [w["pid"] for w in server.info()["workers"] if w["state"] == "busy"]
        server.hit("template", signal.SIGKILL)
        os.kill(busy, signal.SIGKILL)
        wait_until(lambda: busy not in server.worker_pids(), "it has ended")
    assert call.result().json == {"predictions": ["done"]}


def test_without_environment_and_look_up_the_registry_is_asked_again(live: Live) -> None:
    server = live.server
    wait_in_order(server)
    for name in ("environment", "lookup"):
        server.hit(name, signal.SIGKILL)
    mark = server.mark()
    version = live.add("another")
    live.promote(version)
    server.wait_swapped(version, since=mark)
    assert server.predict(text("hello")).json == {"predictions": ["another"]}
    live.promote("1")
    server.wait_swapped("1", since=mark)
    wait_in_order(server)
    # These, and the resource trackers: that of the lost one ends with the last that used it.
    family = 1 + server.running().total() + 1
    wait_until(lambda: len(server.processes()) == family, "all that have ended are collected")
