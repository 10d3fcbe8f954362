"""A new version that would not serve is never met by anyone."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.load import load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Broken:
    """A model that won't serve, the phase in which that shows, and what is said about it."""

    phase: str
    says: str
    load: str = "pass"
    predict: str = "return ['never'] * len(model_input)"


BROKEN = {
    "raises while loading": Broken(
        "load", "the weights are corrupt", load="raise RuntimeError('the weights are corrupt')"
    ),
    "raises on its own input example": Broken(
        "rehearsal", "never saw this word", predict="raise KeyError('never saw this word')"
    ),
    "calls os._exit": Broken("load", "exit_code 1", load="import os; os._exit(1)"),
    "calls sys.exit": Broken("load", "SystemExit", load="import sys; sys.exit('no licence')"),
    "kills itself with SIGSEGV": Broken(
        "load", "SIGSEGV", load="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    ),
    "dies of its own input example": Broken(
        "rehearsal", "exit_code 3", predict="import os; os._exit(3)"
    ),
}


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that tries a version that failed again after a second."""
    return await start_gateway("first", poll_interval_seconds=0.2)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_version_is_refused_and_the_next_one_repairs_it(
    client: Client, gateway: Gateway, log: Log, broken: Broken
) -> None:
    good = await gateway.serve("good")
    bad = gateway.add(gateway.saved.save(broken.predict, load=broken.load))
    repaired = gateway.add("repaired")

    async with load(client.url, TEXT_REQUEST, clients=8) as clients:
        gateway.promote(bad)
        await gateway.watcher.poll()
        (failure,) = log.find("reload_failed", failed_version=f"v{bad}")
        answer = await client.reload()
        info = await client.info()
        await clients.answered(20)
        gateway.promote(repaired)
        await gateway.watcher.poll()
        await clients.answered(20)

    assert clients.failures == []
    assert clients.versions == {good, repaired}

    assert failure["trigger"] == "watcher"
    assert failure["serving_version"] == f"v{good}"
    assert failure["phase"] == broken.phase
    assert broken.says in failure["error"]
    assert failure["retry_in_seconds"] > 0

    assert answer.status == 500
    message = answer.json["message"]
    assert broken.phase in message
    assert broken.says in message
    assert answer.json == {
        "status": "error",
        "message": message,
        "model_uri": f"models:/{gateway.name}/Production",
        "old_version": f"v{good}",
        "version_changed": False,
    }
    manual = log.find("reload_failed", trigger="manual", failed_version=f"v{bad}")
    assert [event["request_id"] for event in manual] == [answer.headers["x-request-id"]]

    assert info["metadata"]["version"] == good
    assert info["last_reload"]["outcome"] == "failed"
    assert broken.says in info["last_reload"]["error"]

    async def one_is_left() -> bool:
        return len(gateway.release_directories()) == 1

    await eventually(one_is_left, "nothing of them is left")


async def test_a_failure_is_logged_with_the_traceback_and_answered_without_paths(
    client: Client, gateway: Gateway, log: Log
) -> None:
    await gateway.serve("good")
    load_body = "open(context.artifacts.get('missing', __file__ + '.weights'))"
    bad = gateway.add(gateway.saved.save("return []", load=load_body))
    gateway.promote(bad)

    answer = await client.reload()

    assert answer.status == 500
    assert "No such file" in answer.json["message"]
    assert "Traceback" not in answer.json["message"]
    assert str(gateway.scratch) not in answer.json["message"]
    (event,) = log.find("reload_failed", failed_version=f"v{bad}")
    assert "Traceback (most recent call last)" in event["exception"]
    assert str(gateway.scratch) in event["exception"]


async def test_a_version_that_failed_is_retried_with_growing_pauses(
    start_gateway: StartGateway, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway("good", poll_interval_seconds=0.2)
    mended = tmp_path / "mended"
    load_body = f"""
        import pathlib
        if not pathlib.Path({str(mended)!r}).exists():
            raise RuntimeError("not mended yet")
    """
    bad = gateway.add(gateway.saved.save("return ['mended'] * len(model_input)", load=load_body))
    gateway.promote(bad)
    gateway.watcher.start()

    await log.wait_for("reload_failed", count=2, failed_version=f"v{bad}")
    mended.touch()
    await log.wait_for("model_swapped", new_version=f"v{bad}", trigger="watcher")

    failures = log.find("reload_failed", failed_version=f"v{bad}")
    assert [event["retry_in_seconds"] for event in failures] == [1.0, 2.0]
    assert len(log.find("version_moved")) == 1
