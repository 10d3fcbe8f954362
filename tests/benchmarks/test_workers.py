"""The benchmark of workers: what it counts, and one small run of all its parts."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import workers_report
from benchmarks.errors import BenchmarkError
from benchmarks.openloop import OpenLoop, Running
from benchmarks.paths import REPOSITORY
from benchmarks.processes import ServerProcess, free_port
from benchmarks.processor import usage
from benchmarks.samples import Samples
from benchmarks.workers.benchmark import PARTS, Plan, targets
from benchmarks.workers.replacement import first_answer, in_flight, latest_wait
from tests.support.waiting import wait_until

_BURNING = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.3:
        pass
    os._exit(0)
os.wait()
print("collected", flush=True)
time.sleep(60)
"""
_SMALL = (
    *("--mebibytes", "1", "--predictions", "100", "--load-seconds", "0.5", "--kills", "1"),
    *("--killer-seconds", "1", "--swaps", "1"),
)


def _samples(*requests: tuple[float, float, int]) -> Samples:
    samples = Samples()
    for began, done, status in requests:
        samples.add(began, began, done, status, 1)
    return samples


def test_answers_are_told_by_when_they_began_around_a_death() -> None:
    samples = _samples(
        (8.0, 9.0, 200),  # before it
        (9.5, 10.125, 200),  # in flight
        (9.75, 10.5, 500),
        (10.0625, 10.25, 503),  # begun after it
        (10.25, 10.75, 200),
        (12.0, 14.0, 200),  # too late to count
    )
    assert in_flight(samples, 10.0) == 2
    assert latest_wait(samples, 10.0) == 0.5
    assert first_answer(samples, 10.0) == 0.75


def test_a_server_that_is_lost_with_its_worker_is_an_error() -> None:
    with pytest.raises(BenchmarkError):
        first_answer(_samples((9.0, 9.5, 200), (10.5, 11.0, 503)), 10.0)


def _cell(server: str, workers: int, mebibytes: int) -> dict[str, Any]:
    keys = ("at_rest_bytes", "after_bytes", "at_rest_anonymous_bytes", "after_anonymous_bytes")
    sizes = dict.fromkeys(keys, mebibytes * 2**20)
    known = {"model": "array", "workers": workers, "server": server}
    return {**known, "shared": None, "processes": 5, **sizes}


def test_two_checkouts_are_reported_side_by_side() -> None:
    seconds = {"median": 0.25, "low": 0.125, "high": 0.5}
    keys = ("below_seconds", "gateway_seconds", "answered_seconds")
    swaps = {"swaps": 9, **dict.fromkeys(keys, seconds)}
    results = {
        "plan": asdict(Plan()),
        "servers": {"before": "1234567", "now": "89abcde+"},
        "memory": [
            _cell("before", 1, 600),
            _cell("now", 1, 630),
            _cell("before", 4, 1200),
            _cell("now", 4, 756),
        ],
        "candidate": {"before": swaps, "now": swaps},
    }
    goals = {goal.what: round(goal.measured.median, 2) for goal in targets(results)}
    assert goals["memory of 4 workers, times that of 1, array"] == 1.2
    assert goals["memory without files of 1 worker, times that before, array"] == 1.05
    assert goals["processor time of a swap, times that before"] == 1
    text = workers_report.body(results)
    assert "before is 1234567, now is 89abcde+" in text
    assert "| a NumPy array, 4 workers, now |  | 5 | 756 MiB |" in text
    assert "| now | 9 | 0.25 (0.12 to 0.50) |" in text
    ET.fromstring(workers_report.chart(results))  # noqa: S314


def test_processor_time_includes_children_that_have_ended(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    command = [sys.executable, "-c", _BURNING]
    with ServerProcess("a parent", command, directory=tmp_path, env={}, log=log) as process:
        wait_until(lambda: "collected" in log.read_text(), "the child is collected")
        used = usage(process)
    assert 0.25 <= used.below <= 2
    assert used.gateway < 0.25


def test_a_closed_loop_has_one_request_a_connection_under_way(tmp_path: Path) -> None:
    port = free_port()
    bodies, output = tmp_path / "bodies", tmp_path / "samples"
    bodies.write_text("{}\n")
    command = [sys.executable, "-m", "benchmarks.peers.empty_handler", str(port)]
    with ServerProcess(
        "a server", command, directory=REPOSITORY, env={}, log=tmp_path / "output.log"
    ) as server:
        server.wait_until_ready(port, "/health", 30)
        with Running(OpenLoop(port, 0, 0.3, str(bodies), str(output), connections=3)) as load:
            samples = load.samples()
    assert set(samples.status) == {200}
    assert len(samples) > 30
    spans = sorted(
        (due, due + took) for due, took in zip(samples.due, samples.latency, strict=True)
    )
    under_way = [sum(due <= now < done for due, done in spans) for now, _ in spans]
    assert max(under_way) <= 3


@pytest.mark.faults
@pytest.mark.untimed
@pytest.mark.timeout(400)
def test_workers_are_measured_and_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--output", str(tmp_path), "workers", *_SMALL]
    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=390
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "workers.json").read_text())
    assert set(PARTS) <= set(results)
    assert (tmp_path / "workers.svg").read_text().startswith("<svg ")
