"""What /metrics counts."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.waiting import eventually

MAX_QUEUE = 2

# Waits for the file that a row names, and raises where it can't make anything of a row.
PREDICT = """
    import pathlib, time
    for text in model_input["text"]:
        if text == "bad":
            raise ValueError(text)
        while text.startswith("/") and not pathlib.Path(text).exists():
            time.sleep(0.01)
    return ["good"] * len(model_input)
"""

# Loading waits for as long as there is this file.
HELD_UP = """
    import pathlib, time
    while pathlib.Path({path!r}).exists():
        time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, no worker becomes ready."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels, hold: Path) -> Gateway:
    """A gateway that asks its model one request at a time, and lets few wait."""
    model = saved.save(PREDICT, load=HELD_UP.format(path=str(hold)))
    # What is forked does not load, and could not be held up.
    return await start_gateway(model, batching="off", max_queue=MAX_QUEUE, share_model="off")


async def value(client: Client, name: str, **labels: str) -> float:
    """A sample, or 0 where there is none yet."""
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return 0.0


async def test_answers_are_counted_by_what_came_of_them(client: Client) -> None:
    async def counts() -> dict[str, float]:
        return {
            outcome: await value(client, "model_server_answers_total", outcome=outcome)
            for outcome in ("ok", "invalid_input", "model_error")
        } | {"timed": await value(client, "model_server_answer_seconds_count")}

    before = await counts()
    assert (await client.predict(TEXT_REQUEST)).status == 200
    assert (await client.predict(TEXT_REQUEST)).status == 200
    assert (await client.predict({"nothing": "known"})).status == 400
    assert (await client.predict({"instances": ["bad"]})).status == 400
    after = await counts()
    assert {name: after[name] - before[name] for name in before} == {
        "ok": 2,
        "invalid_input": 1,
        "model_error": 1,
        "timed": 4,
    }


async def test_the_queue_is_shown_and_what_it_has_no_room_for_is_counted(
    client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    async def waiting() -> float:
        return await value(client, "model_server_queue")

    async def refused() -> float:
        return await value(client, "model_server_refused_total", reason="QueueFull")

    before = await refused()
    assert await waiting() == 0

    async def all_wait() -> bool:
        return await waiting() == MAX_QUEUE

    try:
        bodies = [{"instances": [str(gate)]}] * (1 + MAX_QUEUE)
        calls = [asyncio.create_task(client.predict(body)) for body in bodies]
        await eventually(all_wait, "one is predicted, the others wait")
        assert (await client.predict(TEXT_REQUEST)).status == 503
    finally:
        gate.touch()
    assert [(await call).status for call in calls] == [200] * (1 + MAX_QUEUE)
    assert await refused() - before == 1
    assert await waiting() == 0


async def test_reloads_are_counted_by_what_asked_and_what_came_of_it(client: Client) -> None:
    async def reloads(trigger: str, outcome: str) -> float:
        return await value(client, "model_server_reloads_total", trigger=trigger, outcome=outcome)

    before = {
        outcome: await reloads("manual", outcome) for outcome in ("unchanged", "swapped", "failed")
    }
    assert (await client.reload()).status == 200
    old, new = (await client.info())["metadata"]["version"], client.gateway.add("another")
    client.gateway.promote(new)
    assert (await client.reload()).json["version_changed"] is True
    assert await value(client, "model_server_model_info", version=new) == 1
    client.gateway.registry.archive(client.gateway.name, new)
    assert (await client.reload()).status == 404
    after = {outcome: await reloads("manual", outcome) for outcome in before}
    assert {outcome: after[outcome] - before[outcome] for outcome in before} == {
        "unchanged": 1,
        "swapped": 1,
        "failed": 1,
    }
    assert await reloads("startup", "swapped") == 1

    client.gateway.promote(old)
    assert (await client.reload()).json["new_version"] == f"v{old}"


async def test_workers_are_shown_and_those_that_died_are_counted(
    client: Client, hold: Path
) -> None:
    async def workers() -> float:
        return await value(client, "model_server_workers")

    async def losses() -> float:
        return await value(client, "model_server_worker_losses_total")

    async def working(count: int) -> bool:
        return await workers() == count

    before = await losses()
    assert await workers() == 1
    (pid,) = await client.worker_pids()
    hold.touch()
    try:
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: working(0), "its end is noticed")
        assert await losses() - before == 1
    finally:
        hold.unlink()
    await eventually(lambda: working(1), "another one works")
    assert await losses() - before == 1
