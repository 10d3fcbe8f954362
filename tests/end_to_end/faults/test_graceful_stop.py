"""SIGTERM: nobody is sent here any more, and whoever comes all the same is served."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.models import echo, obedient, text
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import ended
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("sharing", ["auto", "off"])]


def test_during_the_grace_period_health_is_off_and_requests_are_served(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, obedient(saved)))
    server = start_server(f"models:/{model_name}/Production", SHUTDOWN_GRACE_SECONDS="3")
    server.wait_healthy()
    gate = tmp_path / "gate"

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, text(str(gate)))
        wait_until(server.is_busy, "a request is in flight")
        server.signal(signal.SIGTERM)
        signalled = time.monotonic()
        stopping = server.wait_for("server_stopping")
        health = server.get("/health")
        told = time.monotonic() - signalled
        gate.touch()
        in_flight = call.result()
    served = server.predict(text("new connection"))
    reload = server.reload()

    assert stopping["signal"] == "SIGTERM"
    assert health.status == 503
    assert health.json["reason"] == "the server is stopping"
    assert told < 1.0
    assert server.get("/livez").status == 200
    assert in_flight.json == echo(str(gate))
    assert served.json == echo("new connection")
    # It may keep no connection that would be cut off.
    assert served.headers["connection"] == "close"
    assert reload.status == 503
    assert "stopping" in reload.json["message"]
    assert server.wait_exit() == 0
    assert time.monotonic() - signalled >= 3
    assert list(server.scratch.iterdir()) == []


def test_a_second_signal_in_the_middle_of_a_swap_ends_everything_at_once(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, obedient(saved)))
    server = start_server(
        f"models:/{model_name}/Production",
        SHUTDOWN_GRACE_SECONDS="60",
        SANDBOX_WRITABLE=str(tmp_path),
    )
    server.wait_healthy()
    loads = tmp_path / "loads"
    load = f"""
        import pathlib, time
        pathlib.Path({str(loads)!r}).touch()
        while True:
            time.sleep(1)
    """
    registry.promote(model_name, registry.add(model_name, saved.save("return []", load=load)))
    wait_until(loads.exists, "another version is being loaded")

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.predict, text("hang"))
        wait_until(server.is_busy, "a request is in flight")
        family = server.processes()
        server.signal(signal.SIGTERM)
        server.wait_for("server_stopping")
        # The load is given up, and the version before serves.
        assert server.get("/health").status == 503
        signalled = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.process.wait(5) == 128 + signal.SIGTERM
        assert time.monotonic() - signalled < 1
        assert call.exception() is not None
    wait_until(lambda: ended(family), "no process is left", 10)
    server.wait_exit()
    assert server.find("reload_failed") == []
