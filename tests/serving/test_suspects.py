"""What a request may do that kills or hangs the model, where workers are forked from a template."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.serving import killers
from server.serving.swaps import Trigger
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Gateway
from tests.support.log import Log
from tests.support.models import SavedModels
from tests.support.waiting import eventually

TIMEOUT = 1.0

_OBEY = """
    import os, pathlib, time

    def obey(text):
        word, _, argument = text.partition(" ")
        if self.poisoned and text != "some text":
            os._exit(4)
        while self.stuck:
            pass
        if word == "exit":
            os._exit(3)
        if word == "exit_unless" and not pathlib.Path(argument.strip()).exists():
            os._exit(3)
        if word == "exit_once" and not pathlib.Path(argument).exists():
            pathlib.Path(argument).touch()
            os._exit(3)
        if word == "poison":
            self.poisoned = True
        if word == "stick":
            self.stuck = True
        if word == "wait":
            pathlib.Path(f"{argument.strip()}.begun").touch()
            while not pathlib.Path(argument.strip()).exists():
                time.sleep(0.01)
        if word == "spin":
            while True:
                pass
        if word == "sleep":
            time.sleep(1000)
        return f"echo {text}"

    return [obey(text) for text in model_input["text"]]
"""
_LOAD = """
    self.poisoned = self.stuck = False
"""


@pytest.fixture(scope="module")
def obedient(saved: SavedModels) -> Path:
    """A model that answers a text with `echo` before it, and does what the text says."""
    return saved.save(_OBEY, load=_LOAD)


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, obedient: Path) -> Gateway:
    """A gateway that serves it."""
    return await start_gateway(obedient)


@pytest.fixture(scope="module")
async def impatient(start_gateway: StartGateway, obedient: Path) -> Gateway:
    """A gateway that gives it little time."""
    return await start_gateway(obedient, request_timeout_seconds=TIMEOUT)


@pytest.fixture(autouse=True)
async def settled(gateway: Gateway) -> AsyncIterator[None]:
    """Each test begins with a worker, and ends with one and nothing else."""
    yield
    await worker_of(gateway)


def text(*rows: str) -> bytes:
    """The body of a request."""
    return json.dumps({"instances": list(rows)}).encode()


def echo(row: str) -> Any:
    """What the model answers to it, if it lives."""
    return {"predictions": [f"echo {row}"]}


async def worker_of(gateway: Gateway) -> int:
    """The process id of the worker that serves, once one waits for what is asked next."""

    async def idle() -> int:
        serving = gateway.deployment.release
        assert serving is not None
        states = {worker["pid"]: worker["state"] for worker in serving.state()}
        return next((pid for pid, state in states.items() if state == "idle"), 0)

    return await eventually(idle, "a worker is idle")


async def ask(gateway: Gateway, *texts: str) -> list[Any]:
    """Ask all of these at once, so that the one worker gets them as one batch; each one's answer,
    or the name of its error."""
    await worker_of(gateway)
    return [await outcome(call) for call in submit(gateway, *texts)]


def submit(gateway: Gateway, *texts: str, content_type: bytes = b"application/json") -> list[Any]:
    """Ask them, and don't wait."""
    serving = gateway.deployment.release
    assert serving is not None
    return [serving.submit(content_type, b"id", text(one)) for one in texts]


async def held(gate: Path) -> None:
    """Wait until a process waits at this gate, and would take along what it was asked with it."""
    begun = gate.with_name(f"{gate.name}.begun")

    async def exists() -> bool:
        return begun.exists()

    await eventually(exists, f"one waits at {gate}")


async def outcome(call: Any) -> Any:
    """The answer, or the name of the error."""
    try:
        answer, _ = await call
    except Exception as error:
        return type(error).__name__
    return json.loads(answer.body)


async def test_a_request_that_kills_fails_alone(gateway: Gateway, log: Log) -> None:
    good = [f"neighbour {number}" for number in range(6)]
    answers = await ask(gateway, *good[:3], "exit 1", *good[3:])
    assert answers.pop(3) == "WorkerDied"
    assert answers == [echo(one) for one in good]
    # One served, and another was a spare.
    await log.wait_for("worker_replaced")
    await log.wait_for("worker_exited", count=2)


async def test_it_is_refused_at_once_when_it_comes_again(
    gateway: Gateway, connect: Connect, log: Log
) -> None:
    client = await connect(gateway)
    first = await client.predict(text("exit 2"))
    assert (first.status, first.json["message"]) == (500, "the model's process died")
    await log.wait_for("worker_replaced")
    lost = gateway.deployment.workers_lost
    (pid,) = await client.worker_pids()

    for _ in range(5):
        again = await client.predict(text("exit 2"))
        assert again.status == 500
        assert again.json["error_code"] == "INTERNAL_ERROR"
        assert again.json["message"].startswith("this request has ended the model's process before")
    # As long, but another one.
    assert (await client.predict(text("echo 2"))).json == echo("echo 2")

    assert await client.worker_pids() == [pid]
    assert gateway.deployment.workers_lost == lost
    assert len(log.find("killers_refused", version="v1")) <= 1
    assert len(log.find("request_failed")) == 1
    metrics = (await client.get("/metrics")).body.decode()
    assert 'model_server_refused_total{reason="WorkerDiedBefore"} 5.0' in metrics


async def test_another_content_type_is_another_request(gateway: Gateway) -> None:
    assert await ask(gateway, "exit 3") == ["WorkerDied"]
    (other,) = submit(gateway, "exit 3", content_type=b"application/json; charset=utf-8")
    assert await outcome(other) == "WorkerDied"


async def test_one_that_was_posted_many_times_costs_no_more_workers(
    gateway: Gateway, log: Log
) -> None:
    lost = gateway.deployment.workers_lost
    answers = await ask(gateway, *["exit 4"] * 16)
    assert answers == ["WorkerDied", *["WorkerDiedBefore"] * 15]
    await log.wait_for("worker_replaced")
    assert gateway.deployment.workers_lost == lost + 2


async def test_one_that_waits_for_a_worker_meanwhile_is_refused_with_the_others(
    gateway: Gateway, log: Log
) -> None:
    pid = await worker_of(gateway)
    first = submit(gateway, "exit 5")
    await log.wait_for("worker_exited", pid=pid)
    # None serves yet.
    later = submit(gateway, "exit 5", "good 5")
    assert [await outcome(call) for call in first + later] == [
        "WorkerDied",
        *("WorkerDiedBefore", echo("good 5")),
    ]


async def test_two_killers_in_one_batch_are_both_found(gateway: Gateway) -> None:
    answers = await ask(gateway, "good 1", "exit 6", "good 2", "exit 7", "good 3")
    assert answers == [echo("good 1"), "WorkerDied", echo("good 2"), "WorkerDied", echo("good 3")]
    again = await ask(gateway, "exit 6", "exit 7")
    assert again == ["WorkerDiedBefore"] * 2


async def test_it_is_tried_again_in_a_spare_once_its_time_has_come_and_forgotten_if_answered(
    gateway: Gateway, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healed = tmp_path / "healed"
    killer = f"exit_unless {healed}"
    assert await ask(gateway, killer) == ["WorkerDied"]
    await log.wait_for("worker_replaced")
    pid = await worker_of(gateway)

    with monkeypatch.context() as patch:
        patch.setattr(killers, "RETRIAL_SECONDS", 0.0)
        assert await ask(gateway, killer) == ["WorkerDied"]
    assert await ask(gateway, killer) == ["WorkerDiedBefore"]
    assert await worker_of(gateway) == pid

    healed.touch()
    assert await ask(gateway, killer) == ["WorkerDiedBefore"]
    with monkeypatch.context() as patch:
        patch.setattr(killers, "RETRIAL_SECONDS", 0.0)
        assert await ask(gateway, killer) == [echo(killer)]
    assert await ask(gateway, killer) == [echo(killer)]
    assert await worker_of(gateway) == pid


async def test_one_that_kills_now_and_then_is_answered(gateway: Gateway, tmp_path: Path) -> None:
    killer = f"exit_once {tmp_path / 'been here'}"
    assert await ask(gateway, killer) == [echo(killer)]
    assert await ask(gateway, killer) == [echo(killer)]


async def test_a_request_during_which_a_used_spare_dies_is_asked_in_a_fresh_one(
    gateway: Gateway, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    # The other spare is held by one of them, so that some are left for the poisoned one.
    good = [f"wait {gate}{' ' * number}" for number in range(3)]
    await worker_of(gateway)
    calls = submit(gateway, "exit 8", "poison", *good)
    await log.wait_for("worker_exited", exit_code=4)
    gate.touch()
    answers = [await outcome(call) for call in calls]
    assert answers == ["WorkerDied", echo("poison"), *map(echo, good)]
    assert await ask(gateway, *good) == [*map(echo, good)]


async def test_there_are_at_most_two_spares(gateway: Gateway, log: Log, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pid = await worker_of(gateway)
    template = template_of(pid)
    # Each its own digest, and none ends before the gate is open.
    calls = submit(gateway, *[f"wait {gate}{' ' * number}" for number in range(6)])
    await held(gate)
    os.kill(pid, signal.SIGKILL)
    await log.wait_for("worker_replaced", old_pid=pid)

    async def forked() -> bool:
        return len(template.children()) == 3

    await eventually(forked, "there are two, and the worker that serves")
    gate.touch()
    most = 0
    while not all(call.done() for call in calls):
        most = max(most, sum(runs(child.pid) for child in template.children()))
        await asyncio.sleep(0)
    assert [await outcome(call) for call in calls] == [
        echo(f"wait {gate}{' ' * number}") for number in range(6)
    ]
    assert most <= 3

    async def one_is_left() -> bool:
        return len(template.children()) == 1

    await eventually(one_is_left, "the spares have ended")


def runs(pid: int) -> bool:
    """Whether this process has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_killer_whose_client_has_gone_is_found_all_the_same(
    gateway: Gateway, log: Log
) -> None:
    pid = await worker_of(gateway)
    (gone,) = submit(gateway, "exit gone")
    await asyncio.sleep(0)  # so that it is sent
    gone.cancel()
    await log.wait_for("worker_exited", pid=pid)
    await log.wait_for("worker_exited", count=2)
    assert await ask(gateway, "exit gone") == ["WorkerDiedBefore"]


async def test_a_large_one_is_found_too(gateway: Gateway, log: Log) -> None:
    large = "exit " + "x" * 200_000
    assert await ask(gateway, large) == ["WorkerDied"]
    await log.wait_for("worker_replaced")
    pid = await worker_of(gateway)
    assert await ask(gateway, *[large] * 3) == ["WorkerDiedBefore"] * 3
    alike = "echo " + "y" * 200_000
    assert await ask(gateway, alike) == [echo(alike)]
    assert await worker_of(gateway) == pid


async def test_another_release_knows_nothing(gateway: Gateway, log: Log) -> None:
    assert await ask(gateway, "exit 9") == ["WorkerDied"]
    await gateway.deployment.reload(Trigger.MANUAL)
    deaths = len(log.find("worker_exited"))
    assert await ask(gateway, "exit 9") == ["WorkerDied"]
    assert len(log.find("worker_exited")) > deaths


async def test_one_that_computes_without_end_is_refused_once_it_did_so_in_a_spare(
    impatient: Gateway, connect: Connect, log: Log
) -> None:
    client = await connect(impatient)
    first = await client.predict(text("spin 1"))
    assert (first.status, first.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
    await log.wait_for("worker_replaced")
    pid = await worker_of(impatient)
    second, third = await asyncio.gather(*[client.predict(text("spin 1")) for _ in range(2)])
    for again in (second, third, await client.predict(text("spin 1"))):
        assert again.status == 504
    assert again.json["message"].startswith("this request has used its whole time before")
    assert len(log.find("worker_hung")) == 2
    assert await worker_of(impatient) == pid


async def test_what_another_request_has_made_hang_is_not_held_against_one(
    impatient: Gateway, log: Log
) -> None:
    assert await ask(impatient, "stick") == [echo("stick")]
    pid = await worker_of(impatient)
    first = submit(impatient, "good", "good", "good")
    await log.wait_for("worker_exited", pid=pid)
    later = submit(impatient, "good")
    assert {"PredictionTimeout", "TimedOutBefore"}.isdisjoint(
        [str(await outcome(call)) for call in (*first, *later)]
    )
    assert await ask(impatient, "stick") == [echo("stick")]
    assert await ask(impatient, "good") == ["PredictionTimeout"]
    assert await ask(impatient, "good", "good") == [echo("good")] * 2


async def test_of_a_batch_the_one_that_computes_without_end_is_found(impatient: Gateway) -> None:
    answers = await ask(impatient, "good 1", "spin 2", "good 2")
    assert answers == [echo("good 1"), "PredictionTimeout", echo("good 2")]
    # In a spare that had been asked one of the others, that may have been the reason.
    assert (await ask(impatient, "spin 2"))[0] in ("TimedOutBefore", "PredictionTimeout")
    assert await ask(impatient, "spin 2") == ["TimedOutBefore"]


async def test_neighbours_of_those_that_hang_do_not_wait_until_they_have_had_their_time(
    impatient: Gateway,
) -> None:
    await worker_of(impatient)
    started = time.monotonic()
    *hanging, good = submit(impatient, *[f"sleep {number}" for number in range(6)], "good")
    assert await outcome(good) == echo("good")
    # Half of one's time was spent with the batch; in two spares they all need three times that.
    assert time.monotonic() - started < 2 * TIMEOUT
    assert [await outcome(call) for call in hanging] == ["PredictionTimeout"] * 6


async def test_one_that_waits_for_something_else_is_not_remembered(
    impatient: Gateway, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    waits = f"wait {gate}"
    assert await ask(impatient, waits) == ["PredictionTimeout"]
    assert await ask(impatient, "good", waits) == [echo("good"), "PredictionTimeout"]
    gate.touch()
    assert await ask(impatient, waits) == [echo(waits)]


async def test_what_waits_for_a_spare_is_answered_before_the_server_stops(
    start_gateway: StartGateway, obedient: Path, log: Log
) -> None:
    gateway = await start_gateway(obedient)
    pid = await worker_of(gateway)
    calls = submit(gateway, "exit", "good 1", "good 2")
    await log.wait_for("worker_exited", pid=pid)
    await gateway.deployment.close()
    assert [call.done() for call in calls] == [True] * 3
    assert [await outcome(call) for call in calls] == ["WorkerDied", echo("good 1"), echo("good 2")]


async def test_what_waits_for_a_spare_is_refused_if_the_server_can_t_wait(
    start_gateway: StartGateway, obedient: Path, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway(obedient, drain_timeout_seconds=0.2)
    pid = await worker_of(gateway)
    template = template_of(pid)
    gates = [tmp_path / str(number) for number in range(4)]
    calls = submit(gateway, *[f"wait {gate}" for gate in gates])
    await held(gates[0])
    os.kill(pid, signal.SIGKILL)

    async def some_are_asked() -> list[psutil.Process]:
        return [child for child in template.children() if child.pid != pid]

    spares = await eventually(some_are_asked, "there are spares")
    await gateway.deployment.close()
    assert [await outcome(call) for call in calls] == ["NotServing"] * 4
    assert log.find("drain_timed_out")[0]["unanswered"] == 4

    async def have_ended() -> bool:
        return not any(runs(spare.pid) for spare in spares)

    await eventually(have_ended, "they have ended", 5.0)


async def test_what_waits_for_a_spare_when_another_version_comes_is_asked_in_its_spares(
    gateway: Gateway, obedient: Path, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    pid = await worker_of(gateway)
    (waits,) = submit(gateway, f"wait {gate}")
    await held(gate)
    new = gateway.add(obedient)
    await gateway.swap_to(new)

    os.kill(pid, signal.SIGKILL)
    await log.wait_for("worker_exited", pid=pid)
    gate.touch()

    answer, version = await waits
    assert (json.loads(answer.body), version) == (echo(f"wait {gate}"), new)
    await log.wait_for("release_retired")
    assert len(log.find("worker_exited")) == 1


async def test_what_a_replaced_version_loses_is_asked_in_the_one_that_serves_by_now(
    gateway: Gateway, obedient: Path, log: Log, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    pid = await worker_of(gateway)
    (waits,) = submit(gateway, f"wait {gate}")
    await held(gate)
    await gateway.swap_to(gateway.add(obedient))
    # The one in between has nothing to do, and is stopped.
    newest = gateway.add(obedient)
    await gateway.swap_to(newest)
    await log.wait_for("release_retired")

    os.kill(pid, signal.SIGKILL)
    await log.wait_for("worker_exited", pid=pid)
    gate.touch()
    answer, version = await waits
    assert (json.loads(answer.body), version) == (echo(f"wait {gate}"), newest)


async def test_five_different_killers_bring_the_version_before_back(
    start_gateway: StartGateway, obedient: Path, log: Log
) -> None:
    gateway = await start_gateway("good")
    await gateway.serve(obedient)
    for number in range(4):
        assert await ask(gateway, f"exit {number}") == ["WorkerDied"]
    for _ in range(3):
        assert await ask(gateway, "exit 3") == ["WorkerDiedBefore"]
    assert log.find("version_given_up") == []
    assert await ask(gateway, "exit 4") == ["WorkerDied"]
    given_up = await log.wait_for("version_given_up")
    assert (given_up["version"], given_up["fallback_version"]) == ("v2", "v1")
    await log.wait_for("model_swapped", new_version="v1", trigger="fallback")


async def test_five_killers_among_many_good_requests_do_not(
    start_gateway: StartGateway, obedient: Path, log: Log
) -> None:
    gateway = await start_gateway("good")
    version = await gateway.serve(obedient)
    await ask(gateway, *["good"] * 60)
    for number in range(6):
        assert await ask(gateway, f"exit {number}") == ["WorkerDied"]
    assert log.find("version_given_up") == []
    # And it may be gone back to.
    await gateway.serve(obedient)
    for number in range(5):
        assert await ask(gateway, f"exit {number}") == ["WorkerDied"]
    given_up = await log.wait_for("version_given_up")
    assert given_up["fallback_version"] == f"v{version}"


async def test_workers_that_die_while_idle_are_replaced_without_a_pause_until_given_up(
    start_gateway: StartGateway, obedient: Path, log: Log
) -> None:
    gateway = await start_gateway("good")
    await gateway.serve(obedient)
    for _ in range(5):
        pid = await worker_of(gateway)
        os.kill(pid, signal.SIGKILL)
        await log.wait_for("worker_exited", pid=pid)
    await log.wait_for("version_given_up")
    assert len(log.find("worker_exited", version="v2")) == 5


def template_of(pid: int) -> psutil.Process:
    """The process that a worker was forked from."""
    parent = psutil.Process(pid).parent()
    assert parent is not None
    return parent


async def test_without_a_template_what_a_lost_worker_held_is_asked_again_all_the_same(
    start_gateway: StartGateway, obedient: Path, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway(obedient)
    pid = await worker_of(gateway)
    gate = tmp_path / "gate"
    (waits,) = submit(gateway, f"wait {gate}")
    await held(gate)
    template_of(pid).kill()
    os.kill(pid, signal.SIGKILL)
    gate.touch()
    assert await outcome(waits) == echo(f"wait {gate}")
    # Once there is one again, killers are found as before.
    await log.wait_for("template_replaced")
    assert await ask(gateway, "exit") == ["WorkerDied"]
    assert await ask(gateway, "exit") == ["WorkerDiedBefore"]


async def test_where_workers_do_not_share_nothing_is_remembered(
    start_gateway: StartGateway, obedient: Path, log: Log
) -> None:
    gateway = await start_gateway(obedient, share_model="off")
    assert await ask(gateway, "exit", "good") == ["WorkerDied", echo("good")]
    await log.wait_for("worker_replaced", count=2)
    assert await ask(gateway, "exit") == ["WorkerDied"]


async def test_with_several_workers_the_others_serve_on(
    start_gateway: StartGateway, obedient: Path, log: Log, tmp_path: Path
) -> None:
    gateway = await start_gateway(obedient, workers=2)
    answers = await ask(gateway, *[f"exit {number % 3}" for number in range(12)], "good")
    assert answers.pop() == echo("good")
    assert sorted(answers) == ["WorkerDied"] * 3 + ["WorkerDiedBefore"] * 9
    assert [await ask(gateway, f"exit {number}") for number in range(3)] == [
        ["WorkerDiedBefore"]
    ] * 3
