"""How long a prediction is blocked tells a model that waits from one that computes, however busy
the machine is."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from server.worker.blocking import Judge, Measurement

# Says when it is ready, waits for a line, and then runs each case three times.
CASES = """
import asyncio, json, multiprocessing, os, subprocess, sys, threading, time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from server.worker.blocking import Judge

def compute(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

def compute_in_threads_that_end():
    with ThreadPoolExecutor(2) as ending:
        list(ending.map(compute, [0.03, 0.03]))

def stream():
    for _ in range(3):
        yield time.sleep(0.01)

if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    url = sys.argv[1]
    rows = np.random.default_rng(0).random((300, 10))
    forest = RandomForestClassifier(30).fit(rows, rows[:, 0] > 0.5)
    matrix = np.random.default_rng(0).random((700, 700))
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    threads = ThreadPoolExecutor(2)
    processes = multiprocessing.get_context("fork").Pool(2)
    processes.map(compute, [0.0, 0.0])
    async def call():
        await asyncio.sleep(0.05)
    cases = {
        "sleeps": lambda: time.sleep(0.05),
        "asks a server": lambda: urllib.request.urlopen(url).read(),
        "asks servers from threads": lambda: list(
            threads.map(lambda _: urllib.request.urlopen(url).read(), range(2))
        ),
        "awaits on another thread's loop": lambda: (
            asyncio.run_coroutine_threadsafe(call(), loop).result()
        ),
        "waits for a process that sleeps": lambda: processes.map(time.sleep, [0.05]),
        "streams and waits": lambda: list(stream()),
        "scikit-learn": lambda: forest.predict(rows),
        "BLAS": lambda: matrix @ matrix,
        "computes in a thread": lambda: list(threads.map(compute, [0.03, 0.03])),
        "computes in threads that end": compute_in_threads_that_end,
        "computes in processes": lambda: list(processes.map(compute, [0.03, 0.03])),
        "computes in a process that ends": lambda: subprocess.run(
            [sys.executable, "-Sc", "sum(range(3_000_000))"], check=True
        ),
        "waits for moments only": lambda: time.sleep(0.001),
    }
    found = {}
    for name, predict in cases.items():
        judge = Judge()
        for _ in range(3):
            with judge.measuring():
                predict()
        found[name] = judge.verdict
    print(json.dumps(found), flush=True)
    processes.terminate()
    os._exit(0)
"""

WAITS = (
    "sleeps",
    "asks a server",
    "asks servers from threads",
    "awaits on another thread's loop",
    "waits for a process that sleeps",
    "streams and waits",
)
COMPUTES = (
    "scikit-learn",
    "BLAS",
    "computes in a thread",
    "computes in threads that end",
    "computes in processes",
    "computes in a process that ends",
    "waits for moments only",
)


class Slow(BaseHTTPRequestHandler):
    """Answers after 50 ms."""

    def do_GET(self) -> None:
        time.sleep(0.05)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def verdicts() -> dict[str, bool | None]:
    """What is found of each case while other processes want the cores, too."""
    competing = [sys.executable, "-Sc", "while True: pass"]
    with ExitStack() as stack, ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        stack.callback(server.shutdown)
        url = f"http://127.0.0.1:{server.server_port}"
        cases = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", CASES, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        )
        stack.callback(cases.kill)
        assert cases.stdout is not None
        cases.stdout.readline()
        for _ in range(os.cpu_count() or 1):
            other = stack.enter_context(subprocess.Popen(competing))
            stack.callback(other.kill)
        said, _ = cases.communicate(b"\n", timeout=60)
    found: dict[str, bool | None] = json.loads(said)
    return found


@pytest.mark.parametrize("case", WAITS)
def test_a_model_that_waits_is_known_on_a_busy_machine(
    verdicts: dict[str, bool | None], case: str
) -> None:
    assert verdicts[case] is True


@pytest.mark.parametrize("case", COMPUTES)
def test_a_model_that_computes_is_not_taken_for_one_on_a_busy_machine(
    verdicts: dict[str, bool | None], case: str
) -> None:
    assert verdicts[case] is False


def blocked(seconds: float, *, of: float = 0.1) -> Measurement:
    """A prediction that was blocked for so long."""
    measurement = Measurement()
    measurement.seconds, measurement.blocked = of, seconds
    return measurement


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ([], None),
        ([0.1], None),
        ([0.0], None),
        ([0.1, 0.09], True),
        ([0.0, 0.0], False),
        # The first has read its weights.
        ([0.1, 0.0], None),
        ([0.1, 0.0, 0.0], False),
        # It remembers its answers, and was asked the same again.
        ([0.1, 0.0, 0.1], True),
        ([0.04, 0.04], False),
        ([0.05, 0.05], True),
        ([0.0] * 10 + [0.1] * 2, False),
    ],
)
def test_two_predictions_that_agree_decide_or_most_of_three(
    seen: list[float], verdict: bool | None
) -> None:
    judge = Judge()
    for seconds in seen:
        judge.note(blocked(seconds))
    assert judge.verdict is verdict


def test_half_of_next_to_nothing_is_not_waiting() -> None:
    judge = Judge()
    for _ in range(2):
        judge.note(blocked(0.004, of=0.004))
    assert judge.verdict is False
    assert not judge.may_wait


def test_a_prediction_that_raises_tells_nothing() -> None:
    judge = Judge()
    with pytest.raises(KeyError), judge.measuring():
        raise KeyError
    assert judge.seen == 0


def test_of_a_stream_only_its_steps_count() -> None:
    measurement = Measurement()
    for _ in range(2):
        with measurement:
            time.sleep(0.05)
        time.sleep(0.2)
    assert 0.05 < measurement.blocked <= measurement.seconds < 0.2


def test_many_threads_note_what_they_measured() -> None:
    judge = Judge()
    threads = [threading.Thread(target=judge.note, args=(blocked(0.1),)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert judge.seen == 16


def test_measuring_takes_next_to_no_time() -> None:
    # In a process of its own: each thread and each process below it is looked at.
    code = """
import time
from server.worker.blocking import Measurement

def once():
    began = time.thread_time()
    with Measurement():
        pass
    return time.thread_time() - began

print(min(once() for _ in range(50)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert float(done.stdout) < 0.0005
