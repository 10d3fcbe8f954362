"""However the gateway ends, requests in flight are answered if that is possible at all, and no
process is left behind."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, ended
from tests.support.waiting import wait_until

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


def is_busy(server: Server) -> bool:
    """Whether a worker predicts."""
    return any(worker["state"] == "busy" for worker in server.info()["workers"])


def connections(server: Server) -> int:
    """How many clients are connected."""
    sockets = [s for s in psutil.net_connections("tcp") if s.laddr and s.laddr.port == server.port]
    return sum(1 for s in sockets if s.status == psutil.CONN_ESTABLISHED)


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_requests_in_flight_are_answered_before_the_end(
    waiting: Server, tmp_path: Path, how: str
) -> None:
    family = waiting.processes()
    file = tmp_path / "file"
    body = {"instances": [str(file)]}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(waiting.predict, body) for _ in range(8)]
        wait_until(lambda: is_busy(waiting), "a worker predicts")
        wait_until(lambda: connections(waiting) == 8, "every request has been sent")
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
        wait_until(lambda: is_busy(server), "a worker predicts")
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
        wait_until(lambda: is_busy(waiting), "one worker predicts")
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
        wait_until(lambda: connections(server) == 1, "somebody waits for another load")
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
