"""Workers die; whoever did not kill them does not notice."""

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.faults.models import echo, obedient, text
from tests.end_to_end.faults.polls import wait_for_polls
from tests.end_to_end.faults.posting import batch, post_at_once, waiting
from tests.support.live import Live
from tests.support.load import load
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

both_ways = pytest.mark.parametrize("sharing", ["auto", "off"])


def replaced_by(server: Server, mark: int, count: int = 1) -> int:
    """Wait until so many workers have been replaced since the mark; the last one's process id."""
    pid: int = server.wait_for("worker_replaced", since=mark, count=count)["pid"]
    return pid


def connection(server: Server) -> HTTPConnection:
    """A connection that is open."""
    opened = HTTPConnection("127.0.0.1", server.port, timeout=20)
    opened.connect()
    return opened


async def kill_workers_under_load(live: Live) -> None:
    """Kill the worker twice; nobody may notice."""
    server = live.server
    version = await asyncio.to_thread(live.serve, obedient(live.saved))
    mark = server.mark()
    async with load(server.url, text("hello"), clients=32) as clients:
        for count in (1, 2):
            (pid,) = await asyncio.to_thread(server.worker_pids)
            os.kill(pid, signal.SIGKILL)
            new = await asyncio.to_thread(replaced_by, server, mark, count)
            assert new != pid
            await clients.answered(100)

    assert clients.failures == []
    assert clients.versions == {version}
    exits = server.find("worker_exited", mark)
    assert [(e["version"], e["signal"]) for e in exits] == [(f"v{version}", "SIGKILL")] * 2


@both_ways
async def test_no_request_fails_when_the_worker_is_killed(patient: Live) -> None:
    await kill_workers_under_load(patient)


async def test_nor_where_it_is_asked_several_things_at_a_time(several: Live) -> None:
    await kill_workers_under_load(several)


@both_ways
@pytest.mark.parametrize(
    ("killer", "fields"),
    [
        ("exit", {"exit_code": 3}),
        ("segfault", {"signal": "SIGSEGV"}),
    ],
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_request_that_kills_the_model_fails_alone(
    patient: Live, tmp_path: Path, sharing: str, killer: str, fields: dict[str, Any], place: str
) -> None:
    server = patient.server
    patient.serve(obedient(patient.saved))
    neighbours = [f"neighbour {n}" for n in range(8)]
    texts = [killer, *neighbours] if place == "first" else [*neighbours, killer]
    mark = server.mark()

    with batch(server, tmp_path / "gate", texts) as posted:
        answers = {one: call.result() for one, call in posted.items()}

    failed = answers.pop(killer)
    assert failed.status == 500
    assert failed.json["error_code"] == "INTERNAL_ERROR"
    assert {one: a.json for one, a in answers.items()} == {one: echo(one) for one in neighbours}
    # With its batch, and again by itself; where workers share the model, in a spare one.
    server.wait_for("worker_exited", since=mark, count=2, **fields)
    replaced_by(server, mark, 1 if sharing == "auto" else 2)
    assert server.predict(text("next")).json == echo("next")


@pytest.mark.parametrize("sharing", ["off"])
def test_while_no_worker_lives_requests_wait_and_health_says_so(patient: Live) -> None:
    server = patient.server
    patient.serve(obedient(patient.saved))
    mark = server.mark()
    for count in (1, 2):
        # The second one is replaced after a pause of a second.
        (pid,) = server.worker_pids()
        os.kill(pid, signal.SIGKILL)
        server.wait_for("worker_exited", since=mark, count=count)
        health = server.get("/health")
        if count == 1:
            replaced_by(server, mark)

    assert health.status == 503
    assert health.json["status"] == "unhealthy"
    assert "died" in health.json["reason"]
    assert int(health.headers["retry-after"]) > 0
    assert server.get("/livez").status == 200
    assert server.info()["workers"] == []
    answers = post_at_once(server, [f"waits {n}" for n in range(8)])
    assert {one: a.json for one, a in answers.items()} == {one: echo(one) for one in answers}
    assert server.get("/health").status == 200


def kill_workers(server: Server, times: int) -> None:
    """Kill the one worker that lives, as often as that."""
    mark = server.mark()
    for count in range(1, times + 1):
        (pid,) = wait_until(lambda: server.working(), "a worker lives")
        os.kill(pid, signal.SIGKILL)
        server.wait_for("worker_exited", since=mark, count=count)


def serve_one_that_loses_its_worker(patient: Live) -> None:
    patient.serve(obedient(patient.saved))
    kill_workers(patient.server, 1)
    wait_until(lambda: patient.server.working(), "it is replaced")


@both_ways
def test_a_version_whose_workers_died_is_not_gone_back_to(patient: Live) -> None:
    server = patient.server
    sound = patient.serve("sound")
    serve_one_that_loses_its_worker(patient)
    bad = patient.serve("bad")
    mark = server.mark()

    kill_workers(server, 5)

    given_up = server.wait_for("version_given_up", since=mark)
    assert (given_up["version"], given_up["fallback_version"]) == (f"v{bad}", f"v{sound}")
    server.wait_swapped(sound, since=mark, trigger="fallback")


@both_ways
def test_no_version_goes_back_to_itself(patient: Live) -> None:
    server = patient.server
    first = patient.serve("first")
    serve_one_that_loses_its_worker(patient)
    patient.swap_to(first)
    mark = server.mark()

    kill_workers(server, 5)

    server.wait_for("worker_replaced", since=mark, count=5)
    assert server.find("version_given_up", mark) == []
    assert server.predict(text("hello")).json == {"predictions": ["first"]}


@both_ways
def test_a_version_whose_workers_keep_dying_is_given_up(patient: Live) -> None:
    server = patient.server
    good = patient.serve("good")
    bad = patient.serve(obedient(patient.saved))
    mark = server.mark()

    kill_workers(server, 5)
    given_up = server.wait_for("version_given_up", since=mark)
    assert (given_up["version"], given_up["fallback_version"]) == (f"v{bad}", f"v{good}")
    assert len(server.find("worker_exited", mark)) == 5
    swap = server.wait_swapped(good, since=mark, trigger="fallback")
    assert swap["old_version"] == f"v{bad}"
    assert server.predict(text("hello")).json == {"predictions": ["good"]}

    # The registry still names the bad one.
    wait_for_polls(server, 3)
    assert server.info()["metadata"]["version"] == good
    assert server.find("model_swapped", mark, new_version=f"v{bad}") == []
    assert server.find("reload_failed", mark) == []

    # Until somebody asks for it, or promotes another one.
    answer = server.reload()
    assert (answer.status, answer.json["new_version"]) == (200, f"v{bad}")
    patient.serve("another")


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["whole at once", "in pieces"])
def test_what_a_client_that_has_gone_asked_for_is_not_predicted(
    patient: Live, tmp_path: Path, size: int
) -> None:
    server = patient.server
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    predict = f"""
        import pathlib, time
        words = [word.strip() for word in model_input.text]
        while words[0].startswith("/") and not pathlib.Path(words[0]).exists():
            time.sleep(0.01)
        with open({str(seen)!r}, "a") as file:
            file.write(" ".join(words) + "\\n")
        return words
    """
    patient.serve(patient.saved.save(predict))
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(server.predict, text(str(gate)))
        wait_until(server.is_busy, "the model waits")
        # The worker takes one batch ahead of time.
        with closing(connection(server)) as ahead, closing(connection(server)) as gone:
            ahead.request("POST", "/invocations", json.dumps(text("ahead")))
            wait_until(lambda: server.connections() == 3, "all are connected")
            gone.request("POST", "/invocations", json.dumps(text("gone" + " " * size)))
            wait_until(lambda: waiting(server) == 1, "it waits")
            gone.close()
            wait_until(lambda: server.connections() == 2, "one has gone")
            gate.touch()
            assert waits.result().status == 200
            assert ahead.getresponse().status == 200
    assert server.predict(text("then")).status == 200
    assert "gone" not in seen.read_text().split()
