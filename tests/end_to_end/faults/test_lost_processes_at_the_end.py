"""Whichever of its processes is stopped or killed, the server ends in time and leaves none; and
they end by themselves once it has been killed."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.gates import Gates
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, ended
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

# A process that does not end by itself gets four seconds.
MOST_SECONDS = 10.0


@pytest.fixture(scope="module")
def model(gates: Gates, saved: SavedModels) -> Path:
    """A model with those gates."""
    return gates.model(saved)


@pytest.fixture
def server(
    registry: Registry, model_name: str, model: Path, gates: Gates, start_server: StartServer
) -> Server:
    """A server of that model with two workers."""
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, model))
    server = start_server(f"models:/{model_name}/Production", WORKERS="2", **gates.settings)
    server.wait_healthy()
    return server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """For what has to wait."""
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("name", "number", "step"),
    [
        ("environment", signal.SIGSTOP, None),
        ("environment", signal.SIGKILL, None),
        ("template", signal.SIGSTOP, None),
        ("template", signal.SIGKILL, None),
        ("environment", signal.SIGSTOP, "load"),
        ("template", signal.SIGSTOP, "load"),
        ("template", signal.SIGSTOP, "fork"),
        ("lookup", signal.SIGSTOP, None),
        ("worker", signal.SIGSTOP, None),
    ],
)
def test_the_server_ends_in_time_without_one_of_its_processes(
    server: Server,
    gates: Gates,
    pool: ThreadPoolExecutor,
    name: str,
    number: signal.Signals,
    step: str | None,
) -> None:
    with ExitStack() as held_up:
        if step is not None:
            held_up.enter_context(gates.closed(step))
            pool.submit(server.reload)
            gates.wait_reached(step)
        family = server.processes()
        server.hit(name, number)
        family += server.processes()
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < MOST_SECONDS
        wait_until(lambda: ended(family), "no process is left", 5)
    assert server.events[-1]["event"] == "server_stopped"
    assert not [line for line in server.lines if "Traceback" in line]
    assert list(server.scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGCONT])
def test_the_server_ends_in_time_while_a_swap_waits_for_another_environment_process(
    server: Server, pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    before = server.environment()
    mark = server.mark()
    before.kill()

    def another() -> bool:
        found = [process for process in server.named("environment") if process != before]
        for process in found:
            process.send_signal(number)
        return bool(found)

    wait_until(another, "another has been started")
    pool.submit(server.reload)
    family = server.processes()
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < MOST_SECONDS
    wait_until(lambda: ended(family), "no process is left", 5)
    assert server.find("environment_lost", mark)
    assert not [line for line in server.lines if "Traceback" in line]


@pytest.mark.parametrize("step", [None, "load", "rehearsal", "fork"])
def test_killed_it_leaves_no_process_at_any_step_of_a_swap(
    server: Server, gates: Gates, pool: ThreadPoolExecutor, step: str | None
) -> None:
    expected = {"environment": 1, "lookup": 1, "template": 1, "worker": 2}
    wait_until(lambda: server.running() == expected, "all are there")
    with ExitStack() as held_up:
        if step is not None:
            held_up.enter_context(gates.closed(step))
            pool.submit(server.reload)
            gates.wait_reached(step)
            assert server.running()["template"] == 2
        family = server.processes()
        server.signal(signal.SIGKILL)
        if step == "fork":
            # Nobody looks for the gateway while the model's own handlers hold up a fork.
            held_up.close()
        wait_until(lambda: ended(family), "no process is left", 10)
