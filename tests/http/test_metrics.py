"""What /metrics counts."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.live import Live
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import wait_until

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
def measured(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels, hold: Path
) -> Iterator[Live]:
    """A server that asks its model one request at a time, and lets few wait."""
    registry.create("measured")
    path = saved.save(PREDICT, load=HELD_UP.format(path=str(hold)))
    registry.promote("measured", registry.add("measured", path))
    server = Server(
        tmp_path_factory.mktemp("measured"),
        MODEL_URI="models:/measured/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        BATCHING="off",
        MAX_QUEUE=str(MAX_QUEUE),
        POLL_INTERVAL_SECONDS="0",
    )
    server.wait_healthy()
    yield Live(server, registry, "measured", saved)
    server.close()


def value(server: Server, name: str, **labels: str) -> float:
    """A sample, or 0 where there is none yet."""
    answer = server.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    return 0.0


def test_answers_are_counted_by_what_came_of_them(measured: Live) -> None:
    server = measured.server

    def counts() -> dict[str, float]:
        return {
            outcome: value(server, "model_server_answers_total", outcome=outcome)
            for outcome in ("ok", "invalid_input", "model_error")
        } | {"timed": value(server, "model_server_answer_seconds_count")}

    before = counts()
    assert server.predict(TEXT_REQUEST).status == 200
    assert server.predict(TEXT_REQUEST).status == 200
    assert server.predict({"nothing": "known"}).status == 400
    assert server.predict({"instances": ["bad"]}).status == 400
    after = counts()
    assert {name: after[name] - before[name] for name in before} == {
        "ok": 2,
        "invalid_input": 1,
        "model_error": 1,
        "timed": 4,
    }


def test_the_queue_is_shown_and_what_it_has_no_room_for_is_counted(
    measured: Live, tmp_path: Path
) -> None:
    server, gate = measured.server, tmp_path / "gate"

    def waiting() -> float:
        return value(server, "model_server_queue")

    def refused() -> float:
        return value(server, "model_server_refused_total", reason="QueueFull")

    before = refused()
    assert waiting() == 0
    with ThreadPoolExecutor(1 + MAX_QUEUE) as pool:
        try:
            calls = [
                pool.submit(server.predict, {"instances": [str(gate)]})
                for _ in range(1 + MAX_QUEUE)
            ]
            wait_until(lambda: waiting() == MAX_QUEUE, "one is predicted, the others wait")
            assert server.predict(TEXT_REQUEST).status == 503
        finally:
            gate.touch()
        assert [call.result().status for call in calls] == [200] * (1 + MAX_QUEUE)
    assert refused() - before == 1
    assert waiting() == 0


def test_reloads_are_counted_by_what_asked_and_what_came_of_it(measured: Live) -> None:
    server = measured.server

    def reloads(trigger: str, outcome: str) -> float:
        return value(server, "model_server_reloads_total", trigger=trigger, outcome=outcome)

    before = {outcome: reloads("manual", outcome) for outcome in ("unchanged", "swapped", "failed")}
    assert server.reload().status == 200
    old, new = server.info()["metadata"]["version"], measured.add("another")
    measured.promote(new)
    assert server.reload().json["version_changed"] is True
    assert value(server, "model_server_model_info", version=new) == 1
    measured.registry.archive(measured.name, new)
    assert server.reload().status == 404
    after = {outcome: reloads("manual", outcome) for outcome in before}
    assert {outcome: after[outcome] - before[outcome] for outcome in before} == {
        "unchanged": 1,
        "swapped": 1,
        "failed": 1,
    }
    assert reloads("startup", "swapped") == 1

    measured.promote(old)
    assert server.reload().json["new_version"] == f"v{old}"


def test_workers_are_shown_and_those_that_died_are_counted(measured: Live, hold: Path) -> None:
    server = measured.server

    def workers() -> float:
        return value(server, "model_server_workers")

    def losses() -> float:
        return value(server, "model_server_worker_losses_total")

    before = losses()
    assert workers() == 1
    (pid,) = server.worker_pids()
    hold.touch()
    try:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: workers() == 0, "its end is noticed")
        assert losses() - before == 1
    finally:
        hold.unlink()
    wait_until(lambda: workers() == 1, "another one works")
    assert losses() - before == 1
