"""The events that tell what became of a version and its workers."""

import os
import signal

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.load import load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway whose watcher polls when it is told to."""
    return await start_gateway("first")


async def test_a_promotion_is_told_from_its_discovery_to_the_retirement(
    gateway: Gateway, log: Log
) -> None:
    old, new = await gateway.serve("old"), gateway.add("new")
    gateway.promote(new)
    await gateway.watcher.poll()
    retired = await log.wait_for("release_retired", version=f"v{old}")

    (moved,) = log.find("version_moved")
    (swap,) = log.find("model_swapped", trigger="watcher")
    assert (moved["old_version"], moved["new_version"]) == (f"v{old}", f"v{new}")
    assert (swap["old_version"], swap["new_version"]) == (f"v{old}", f"v{new}")
    assert swap["version_changed"] is True
    assert 0 < swap["load_seconds"] < 60
    assert swap["rehearsed"] >= 1
    assert 0 <= retired["seconds"] < 30
    order = [log.events.index(e) for e in (moved, swap, retired)]
    assert order == sorted(order)


async def test_a_stage_that_nothing_holds_is_told_once_and_the_last_version_serves_on(
    client: Client, gateway: Gateway, log: Log
) -> None:
    version = await gateway.serve("last")
    swaps = len(log.find("model_swapped"))
    gateway.registry.archive(gateway.name, version)
    for _ in range(4):
        await gateway.watcher.poll()

    (missing,) = log.find("version_missing")
    assert (missing["serving_version"], missing["log_level"]) == (f"v{version}", "warning")
    assert (await client.info())["watcher"]["last_outcome"] == "missing"
    assert (await client.predict(TEXT_REQUEST)).version == version
    assert (await client.get("/health")).status == 200

    # Back in its stage, it is the version that serves already; gone again, that is told again.
    gateway.promote(version)
    await gateway.watcher.poll()
    assert (await client.info())["watcher"]["last_outcome"] == "unchanged"
    gateway.registry.archive(gateway.name, version)
    await gateway.watcher.poll()
    assert len(log.find("version_missing")) == 2
    assert len(log.find("model_swapped")) == swaps


async def test_a_worker_that_dies_is_told_and_replaced_without_a_failed_request(
    client: Client, gateway: Gateway, log: Log
) -> None:
    version = await gateway.serve("durable")
    (pid,) = await client.worker_pids()
    async with load(client.url, TEXT_REQUEST, clients=8) as clients:
        await clients.answered(20)
        os.kill(pid, signal.SIGKILL)
        await clients.answered(20)
    exited = await log.wait_for("worker_exited")
    replaced = await log.wait_for("worker_replaced")
    assert clients.failures == []
    assert (exited["version"], exited["pid"], exited["signal"]) == (f"v{version}", pid, "SIGKILL")
    assert replaced["version"] == f"v{version}"
    assert await client.worker_pids() == [replaced["pid"]]
    assert (await client.get("/health")).status == 200


async def test_an_exit_code_is_told_where_there_was_one(
    client: Client, gateway: Gateway, log: Log
) -> None:
    body = """
        import os
        if "die" in list(model_input["text"]):
            os._exit(7)
        return ["alive"] * len(model_input)
    """
    version = await gateway.serve(gateway.saved.save(body))
    answer = await client.predict({"instances": ["die"]})
    assert answer.status == 500
    assert set(answer.json) == {"error_code", "message"}
    exited = await log.wait_for("worker_exited", version=f"v{version}")
    assert exited["exit_code"] == 7
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["alive"]}


async def test_a_model_that_raises_is_logged_under_the_request_id(
    client: Client, gateway: Gateway, log: Log
) -> None:
    body = """
        if "bad" in list(model_input["text"]):
            raise ValueError("this word is not in the vocabulary")
        return ["good"] * len(model_input)
    """
    version = await gateway.serve(gateway.saved.save(body))
    answer = await client.predict({"instances": ["bad"]}, {"X-Request-ID": "request-of-mine"})

    assert answer.status == 400
    assert answer.json == {
        "error_code": "BAD_REQUEST",
        "message": "this word is not in the vocabulary",
    }
    event = await log.wait_for("prediction_failed")
    assert (event["request_id"], event["log_level"]) == ("request-of-mine", "error")
    assert event["version"] == f"v{version}"
    assert "Traceback (most recent call last)" in event["exception"]
    assert "ValueError: this word is not in the vocabulary" in event["exception"]
