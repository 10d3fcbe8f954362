"""Models that wait are asked many things at a time; each client gets exactly its answer."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.load import load
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.raw import RawClient
from tests.support.server import ended
from tests.support.waiting import eventually
from tests.support.waiting_models import save_waiting, state, told

MOST = 32
PATIENCE = 1.5

# Waits at each request for as long as is worth to be asked several things at a time.
WAIT = 0.02

SPINS = """
    import time
    for text in model_input["text"]:
        began = time.thread_time()
        while time.thread_time() - began < 0.003:
            pass
    return list(model_input["text"])
"""

# What is asked meanwhile changes the answer.
FORGETS = """
    import time
    self.text = list(model_input["text"])
    time.sleep(0.02)
    return self.text
"""
TEXTS = pd.DataFrame({"text": [f"text {n}" for n in range(8)]})


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway of a model that waits, and says "some" or what it is told."""
    return await start_gateway(save_waiting(saved, "some", wait=WAIT))


async def concurrency(client: Client) -> dict[str, Any]:
    """What /info says of it."""
    found: dict[str, Any] = (await client.info())["concurrency"]
    assert found.keys() == {"slots", "waits", "streams", "reason"}
    assert found["reason"]
    return found


async def ask(client: Client, plans: Iterable[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Have each of these plans followed, all at the same time; the status and the JSON of each."""
    answers = await asyncio.gather(*(client.predict(told(**plan)) for plan in plans))
    return [(answer.status, answer.json) for answer in answers]


def echoes(count: int, **plan: Any) -> list[dict[str, Any]]:
    """Plans whose answers differ."""
    return [{"echo": f"answer {n}", **plan} for n in range(count)]


def echoed(count: int) -> list[tuple[int, Any]]:
    """What is answered to these."""
    return [(200, {"predictions": [f"answer {n}"]}) for n in range(count)]


async def test_a_model_that_waits_gets_many_slots_and_info_says_why(client: Client) -> None:
    found = await concurrency(client)
    assert (found["slots"], found["waits"], found["streams"]) == (MOST, True, False)
    assert (await client.info())["batching"]["merging"] is False


async def test_sixteen_clients_wait_for_no_longer_than_one(client: Client) -> None:
    began = time.monotonic()
    assert await ask(client, echoes(16, sleep=0.5)) == echoed(16)
    # One after the other, they would take 8 s.
    assert time.monotonic() - began < 0.5 + 1
    assert (await state(client)).most == 16


async def test_those_beyond_its_slots_wait_for_a_free_one(client: Client) -> None:
    await state(client)
    assert await ask(client, echoes(3 * MOST, sleep=0.1)) == echoed(3 * MOST)
    assert (await state(client)).most == MOST


async def test_what_is_asked_without_an_example_is_measured_first(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    gateway = await start_gateway(save_waiting(saved, "some", wait=WAIT, input_example=None))
    client = await connect(gateway)
    found = await concurrency(client)
    assert (found["slots"], found["waits"]) == (1, None)

    async def is_measured() -> bool:
        assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["some"]}
        return (await concurrency(client))["waits"] is not None

    await eventually(is_measured, "its first requests are measured", 5)
    found = await concurrency(client)
    assert (found["slots"], found["waits"]) == (MOST, True)
    await state(client)
    assert await ask(client, echoes(16, sleep=0.5)) == echoed(16)
    assert (await state(client)).most == 16


async def test_a_model_that_calls_another_server_gets_many_slots(
    client: Client, gateway: Gateway, aiohttp_server: AiohttpServer
) -> None:
    now = most = expected = 0
    seconds = 0.05
    all_here = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == expected:
            all_here.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(all_here.wait(), seconds)
        now -= 1
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/", answer)
    url = str((await aiohttp_server(app)).make_url("/"))
    calls = f"""
        import urllib.request
        answers = []
        for text in model_input["text"]:
            with urllib.request.urlopen({url!r}, text.encode(), timeout=10) as response:
                answers.append(response.read().decode())
        return answers
    """
    await gateway.serve(gateway.saved.save(calls))
    found = await concurrency(client)
    assert (found["slots"], found["waits"]) == (MOST, True)
    bodies = [{"instances": [f"answer {n}"]} for n in range(16)]
    most, seconds, expected = 0, 10.0, 16
    answers = await asyncio.gather(*map(client.predict, bodies))
    assert [(a.status, a.json) for a in answers] == echoed(16)
    assert most == 16


async def test_a_model_that_computes_keeps_one_slot_and_merging(
    client: Client, gateway: Gateway
) -> None:
    await gateway.serve(gateway.saved.save(SPINS))
    found = await concurrency(client)
    assert (found["slots"], found["waits"]) == (1, False)
    batching = (await client.info())["batching"]
    assert batching["merging"] is True, batching


async def test_a_model_that_mixes_up_what_it_is_asked_at_a_time_keeps_one_slot(
    client: Client, gateway: Gateway
) -> None:
    await gateway.serve(gateway.saved.save(FORGETS, input_example=TEXTS))
    found = await concurrency(client)
    assert (found["slots"], found["waits"]) == (1, True)
    bodies = [{"instances": [f"answer {n}"]} for n in range(8)]
    answers = await asyncio.gather(*map(client.predict, bodies))
    assert [(a.status, a.json) for a in answers] == echoed(8)


@pytest.mark.parametrize(("asked", "most"), [(1, 1), (4, 4)])
async def test_a_number_that_was_set_holds(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, asked: int, most: int
) -> None:
    client = await connect(
        await start_gateway(save_waiting(saved, "some", wait=WAIT), concurrency=asked)
    )
    assert (await concurrency(client))["slots"] == most
    await state(client)
    assert await ask(client, echoes(3 * most, sleep=0.05)) == echoed(3 * most)
    assert (await state(client)).most == most


async def test_a_model_that_computes_is_asked_several_things_where_that_was_set(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    client = await connect(await start_gateway(save_waiting(saved, "some"), concurrency=4))
    assert (await concurrency(client))["slots"] == 4
    assert (await client.info())["batching"]["merging"] is False
    await state(client)
    assert await ask(client, echoes(8, sleep=0.05)) == echoed(8)
    assert (await state(client)).most == 4


async def test_what_one_request_leaves_in_its_context_no_other_finds(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    model = saved.save(
        """
        found = seen.get()
        seen.set(model_input.text[0])
        return [found] * len(model_input)
        """,
        preamble="import contextvars; seen = contextvars.ContextVar('seen', default='nothing')",
    )
    client = await connect(await start_gateway(model, concurrency=2))
    answers = await asyncio.gather(*(client.predict(TEXT_REQUEST) for _ in range(8)))
    assert [answer.json for answer in answers] == [{"predictions": ["nothing"]}] * 8


async def test_several_workers_are_asked_several_things_each(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    model = save_waiting(saved, "some")
    client = await connect(await start_gateway(model, workers=2, concurrency=4))
    began = time.monotonic()
    assert await ask(client, echoes(16, sleep=0.2)) == echoed(16)
    # Two rounds of eight.
    assert 0.4 <= time.monotonic() - began < 0.4 + 1

    async def idle() -> bool:
        return [worker["state"] for worker in (await client.info())["workers"]] == ["idle", "idle"]

    await eventually(idle, "both are idle", 5)


async def test_a_model_that_waits_is_merged_where_that_was_set(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    rows = """
        import time
        time.sleep(0.05)
        return [len(model_input)] * len(model_input)
    """
    client = await connect(await start_gateway(saved.save(rows), batching="on"))
    assert (await concurrency(client))["slots"] == 1
    answers = await asyncio.gather(*(client.predict(TEXT_REQUEST) for _ in range(64)))
    assert max(answer.json["predictions"][0] for answer in answers) > 4


async def test_coroutines_are_awaited_many_at_a_time(client: Client, gateway: Gateway) -> None:
    await gateway.serve(save_waiting(gateway.saved, "async", wait=WAIT, asynchronous=True))
    assert (await concurrency(client))["slots"] == MOST
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["async"]}
    plans = echoes(16, sleep=1.0)
    for plan in plans[::4]:
        plan |= {"fail_at": 0, "with": f"no {plan['echo']}"}
    answers = await ask(client, plans)
    assert [a for n, a in enumerate(answers) if n % 4] == [
        a for n, a in enumerate(echoed(16)) if n % 4
    ]
    for number, (status, error) in list(enumerate(answers))[::4]:
        assert (status, error["error_code"]) == (400, "BAD_REQUEST")
        assert f"no answer {number}" in error["message"]
        assert "Traceback" not in error["message"]
    assert (await state(client)).most == 16


async def test_a_client_that_leaves_cancels_its_coroutine(client: Client, gateway: Gateway) -> None:
    await gateway.serve(save_waiting(gateway.saved, "async", wait=WAIT, asynchronous=True))
    # What there is once, there is now.
    await ask(client, echoes(4, sleep=0.05))
    before = await state(client)

    async def one_is_under_way() -> bool:
        return (await state(client)).now == 1

    async def none_is_under_way() -> bool:
        return (await state(client)).now == 0

    for _ in range(3):
        body = b'{"instances": ["{\\"sleep\\": 0.9}"]}'
        async with await RawClient.open(client.port) as raw:
            await raw.post(body)
            await eventually(one_is_under_way, "it is awaited")
        left = time.monotonic()
        await eventually(none_is_under_way, "it was cancelled", 5)
        assert time.monotonic() - left < 0.5
    after = await state(client)
    assert after.cancelled - before.cancelled == 3
    assert (after.threads, after.files) == (before.threads, before.files)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["thread", "coroutine"])
async def test_one_that_hangs_gets_504_and_the_others_their_answers(
    start_gateway: StartGateway,
    connect: Connect,
    saved: SavedModels,
    log: Log,
    asynchronous: bool,
) -> None:
    model = save_waiting(saved, "some", wait=WAIT, asynchronous=asynchronous)
    client = await connect(await start_gateway(model, request_timeout_seconds=PATIENCE))
    (pid,) = await client.worker_pids()
    worker = psutil.Process(pid)
    async with load(client.url, told(), clients=4) as clients:
        await clients.answered(8)
        hanging = asyncio.create_task(client.predict(told(hang_at=0)))
        await client.predict(told(sleep=PATIENCE / 2))
        # These end only after it was given up.
        others = asyncio.create_task(ask(client, echoes(8, sleep=PATIENCE * 0.75)))
        hung = await hanging
        assert (hung.status, hung.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
        assert not others.done()
        replaced = await log.wait_for("worker_replaced")
        assert replaced["old_pid"] == pid
        assert await others == echoed(8)
        await clients.answered(20)

        async def is_gone() -> bool:
            return ended([worker])

        await eventually(is_gone, "the worker that hung has ended", 5)
        await clients.answered(8)
    assert clients.failures == []
    assert max(sample.done - sample.sent for sample in clients.samples) < PATIENCE
    assert await client.worker_pids() == [replaced["pid"]]


async def test_one_that_kills_the_worker_gets_500_and_the_others_their_answers(
    client: Client, gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    await gateway.serve(save_waiting(gateway.saved, "some", wait=WAIT))
    (pid,) = await client.worker_pids()
    gate = tmp_path / "gate"
    others = asyncio.create_task(ask(client, echoes(8, gate=str(gate))))

    async def are_under_way() -> bool:
        return (await state(client)).now == 8

    await eventually(are_under_way, "all are asked")
    dies = asyncio.create_task(client.predict(told(die_at=0)))
    await log.wait_for("worker_exited", pid=pid, exit_code=3)
    gate.touch()
    killer = await dies
    assert (killer.status, killer.json["error_code"]) == (500, "INTERNAL_ERROR")
    assert await others == echoed(8)
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["some"]}


async def test_swapping_forth_and_back_under_load_fails_nothing(
    client: Client, gateway: Gateway
) -> None:
    versions = {
        word: gateway.add(save_waiting(gateway.saved, word, wait=WAIT)) for word in ("one", "two")
    }
    await gateway.swap_to(versions["one"])
    async with load(client.url, TEXT_REQUEST, clients=16) as clients:
        for word in ("two", "one"):
            await clients.answered(50)
            await gateway.swap_to(versions[word])
            swapped = time.monotonic()
            await clients.answered(50)
            assert clients.versions_sent_after(swapped) == {versions[word]}
    assert clients.failures == []
    assert clients.versions == set(versions.values())
    for word, version in versions.items():
        assert clients.answers_of(version) == {b'{"predictions":["%s"]}' % word.encode()}


async def test_a_killed_worker_s_requests_are_answered_by_the_next(
    client: Client, gateway: Gateway, tmp_path: Path
) -> None:
    await gateway.serve(save_waiting(gateway.saved, "some", wait=WAIT))
    gate = tmp_path / "gate"
    calls = asyncio.create_task(ask(client, echoes(16, gate=str(gate))))

    async def are_under_way() -> bool:
        return (await state(client)).now == 16

    await eventually(are_under_way, "all are asked")
    (pid,) = await client.worker_pids()
    psutil.Process(pid).kill()
    gate.touch()
    assert await calls == echoed(16)


@pytest.mark.parametrize("leave", [False, True], ids=["wait", "leave"])
async def test_others_are_answered_while_those_of_a_lost_worker_are_asked_again_alone(
    start_gateway: StartGateway,
    connect: Connect,
    saved: SavedModels,
    log: Log,
    tmp_path: Path,
    leave: bool,
) -> None:
    # Without sharing there are no spare workers.
    model = save_waiting(saved, "some", wait=WAIT)
    gateway = await start_gateway(model, concurrency=16, workers=2, share_model="off")
    client = await connect(gateway)
    gate = tmp_path / "gate"
    calls = asyncio.create_task(ask(client, echoes(16, gate=str(gate))))

    async def all_are_under_way() -> bool:
        found = [await state(client) for _ in range(4)]
        return sum({of.pid: of.now for of in found}.values()) == 16

    await eventually(all_are_under_way, "all are asked")
    lost, _ = await client.worker_pids()
    psutil.Process(lost).kill()
    await log.wait_for("worker_replaced", old_pid=lost)
    assert await ask(client, echoes(4)) == echoed(4)
    if leave:
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
    gate.touch()
    if not leave:
        assert await calls == echoed(16)

    async def both_are_asked_again() -> bool:
        return len({(await state(client)).pid for _ in range(4)}) == 2

    await eventually(both_are_asked_again, "none is kept any more")
    # Nothing of it is left that would hold up a swap.
    old = (await client.info())["metadata"]["version"]
    await gateway.serve(save_waiting(saved, "new", wait=WAIT))
    await log.wait_for("release_retired", 10, version=f"v{old}")
    assert log.find("drain_timed_out") == []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["thread", "coroutine"])
async def test_none_is_nicer_than_the_gateway(
    client: Client, gateway: Gateway, saved: SavedModels, asynchronous: bool
) -> None:
    look = "os.getpriority(os.PRIO_PROCESS, threading.get_native_id())"
    wait = "await asyncio.sleep(0.02)" if asynchronous else "time.sleep(0.02)"
    model = saved.save(
        f"{wait}\nreturn [{look}]",
        preamble="import asyncio, os, threading, time",
        asynchronous=asynchronous,
    )
    await gateway.serve(model)
    assert (await concurrency(client))["slots"] == MOST
    own = os.getpriority(os.PRIO_PROCESS, 0)
    answers = await asyncio.gather(*(client.predict(TEXT_REQUEST) for _ in range(4)))
    assert [answer.json for answer in answers] == [{"predictions": [own]}] * 4
