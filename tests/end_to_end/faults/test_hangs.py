"""Predictions and loads that never end."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.faults.conftest import IMPATIENCE, LOAD_TIMEOUT
from tests.end_to_end.faults.models import echo, obedient, text
from tests.end_to_end.faults.posting import batch
from tests.support.live import Live
from tests.support.server import ended
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("sharing", ["auto", "off"])]


def test_a_prediction_that_hangs_gets_504_and_its_neighbours_are_answered(
    impatient: Live, tmp_path: Path, sharing: str
) -> None:
    server = impatient.server
    impatient.serve(obedient(impatient.saved))
    (pid,) = server.worker_pids()
    mark = server.mark()
    started = time.monotonic()

    with batch(server, tmp_path / "gate", ["before", "hang", "after"]) as posted:
        hung = posted.pop("hang").result()
        took = time.monotonic() - started
        answers = {one: call.result() for one, call in posted.items()}

    assert hung.status == 504
    assert hung.json["error_code"] == "DEADLINE_EXCEEDED"
    # Half of its time was spent with the batch, and each of two workers had to load.
    assert took < 2.5 * IMPATIENCE + 5
    assert {one: (a.status, a.json) for one, a in answers.items()} == {
        one: (200, echo(one)) for one in ("before", "after")
    }
    # Ended with its batch, and again by itself; where workers share the model, in a spare one.
    server.wait_for("worker_hung", since=mark, count=2)
    server.wait_for("worker_replaced", since=mark, count=1 if sharing == "auto" else 2)
    assert not psutil.pid_exists(pid)
    assert server.predict(text("next")).json == echo("next")


def test_a_batch_of_many_predictions_may_take_longer_than_one(
    impatient: Live, tmp_path: Path
) -> None:
    wait_and_sleep = """
        import pathlib, time
        words = list(model_input.text)
        while words[0].startswith("/") and not pathlib.Path(words[0]).exists():
            time.sleep(0.01)
        time.sleep(0.6 * ("slow" in words))
        return words
    """
    impatient.serve(impatient.saved.save(wait_and_sleep))
    # Each layout is predicted by itself, and all of them are sent as one batch.
    bodies: list[dict[str, Any]] = [
        {"instances": ["slow"]},
        {"instances": [{"text": "slow"}]},
        {"inputs": ["slow"]},
        {"inputs": [{"text": "slow"}]},
        {"dataframe_records": [{"text": "slow"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["slow"]]}},
        {"inputs": {"text": ["slow"]}},
    ]
    mark = impatient.server.mark()
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(len(bodies) + 1) as pool:
        pool.submit(impatient.server.predict, text(str(gate)))
        wait_until(impatient.server.is_busy, "the model waits")
        calls = [pool.submit(impatient.server.predict, body) for body in bodies]
        wait_until(lambda: impatient.server.connections() == len(bodies) + 1, "all have come")
        gate.touch()
        answers = [call.result() for call in calls]

    assert [answer.json for answer in answers] == [{"predictions": ["slow"]}] * len(bodies)
    assert impatient.server.find("worker_hung", mark) == []


def test_a_worker_that_is_stopped_is_replaced(impatient: Live) -> None:
    server = impatient.server
    impatient.serve(obedient(impatient.saved))
    (pid,) = server.worker_pids()
    mark = server.mark()

    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, "it has stopped")
    started = time.monotonic()
    answer = server.predict(text("hello"))

    assert answer.status == 504
    assert IMPATIENCE <= time.monotonic() - started < IMPATIENCE + 2
    server.wait_for("worker_replaced", since=mark, old_pid=pid)
    assert server.predict(text("hello")).json == echo("hello")


def test_a_load_that_hangs_is_ended_with_all_that_it_started(patient: Live, tmp_path: Path) -> None:
    server = patient.server
    good = patient.serve("good")
    pids = tmp_path / "pids"
    load = f"""
        import os, pathlib, subprocess, time
        child = subprocess.Popen(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=-1, text=True)
        grandchild = child.stdout.readline()
        pathlib.Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{child.pid}} {{grandchild}}")
        while True:
            time.sleep(1)
    """
    hanging = patient.add(patient.saved.save("return []", load=load))
    mark = server.mark()
    patient.promote(hanging)

    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 3, "it loads")
    family = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    failure = server.wait_for("reload_failed", since=mark, failed_version=f"v{hanging}")

    assert failure["phase"] == "load"
    assert failure["error"] == f"not done after {LOAD_TIMEOUT:g} s"
    wait_until(lambda: ended(family), "it has ended with its children", 5)
    assert len(server.release_directories()) == 1
    assert server.predict(text("hello")).version == good
