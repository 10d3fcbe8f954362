"""Whether a process computes or waits."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.processes.computing import Stopwatch
from server.worker.computing import computed_seconds
from tests.support.waiting import wait_until

COMPUTES = "while True: pass"
WAITS = "import time; time.sleep(1000)"
IN_A_THREAD = f"import threading; threading.Thread(target=lambda: exec({COMPUTES!r})).start()"


@contextmanager
def running(code: str) -> Iterator[int]:
    """The process id of a Python that has begun to run this."""
    command = [sys.executable, "-c", f"print(flush=True)\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.parametrize(
    ("code", "computing"), [(COMPUTES, True), (IN_A_THREAD, True), (WAITS, False)]
)
def test_a_process_that_computes_is_told_from_one_that_waits(code: str, computing: bool) -> None:
    with running(code) as pid:
        stopwatch = Stopwatch(pid, time.monotonic())
        until = time.monotonic() + 0.5
        wait_until(lambda: time.monotonic() > until, "half a second has passed")
        assert stopwatch.computing(time.monotonic()) is computing


def test_many_processes_on_few_cores_all_compute() -> None:
    with running(COMPUTES), running(COMPUTES), running(COMPUTES), running(COMPUTES) as pid:
        stopwatch = Stopwatch(pid, time.monotonic())
        until = time.monotonic() + 1.0
        wait_until(lambda: time.monotonic() > until, "a second has passed")
        assert stopwatch.computing(time.monotonic())


def test_of_a_process_that_has_ended_nothing_is_known() -> None:
    with running(WAITS) as pid:
        stopwatch = Stopwatch(pid, 0.0)
    assert computed_seconds(pid) is None
    assert not stopwatch.computing(0.0)
