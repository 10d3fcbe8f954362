"""A version whose own input example is wrong, and whose requests are right."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.live import Live
from tests.support.models import TEXT_REQUEST, SavedModels

# Fails on the example of the models saved here, and answers all else.
_FAILS = """
    if "wrong example" in list(model_input["text"]):
        {failure}
    return ["fine"] * len(model_input)
"""
_EXAMPLE = {"text": ["wrong example"]}
RAISES = _FAILS.format(failure="raise KeyError('never saw this word')")
DIES = _FAILS.format(failure="import os; os._exit(3)")
HANGS = _FAILS.format(failure="import time; time.sleep(600)")


def test_it_serves_where_nothing_else_does_and_says_so_once(
    start_server: StartServer, saved: SavedModels
) -> None:
    path = saved.save(RAISES, input_example=_EXAMPLE)
    server = start_server(str(path), WORKERS="2")
    server.wait_healthy()
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["fine"]}

    swap = server.wait_for("model_swapped")
    (event,) = server.find("example_failed")
    assert event["level"] == "warning"
    assert event["version"] == swap["new_version"]
    assert event["error"] == "KeyError: 'never saw this word'"
    assert "raise KeyError('never saw this word')" in event["exception"]
    assert swap["rehearsed"] == 0
    info = server.info()
    assert info["example_failed"] == "KeyError: 'never saw this word'"
    # From the signature, as the example is of no use.
    assert info["batching"]["merging"] is True
    # Nothing speaks for it yet, but it serves already.
    assert server.reload().status == 200
    assert len(server.find("example_failed")) == 2
    assert server.request("POST", "/reload?force=true").status == 200
    assert server.reload().status == 200
    assert len(server.find("example_failed")) == 3
    assert server.find("reload_failed") == []


@pytest.mark.parametrize(
    ("predict", "says", "seconds"),
    [
        (DIES, "the worker process ended: exit_code 3", "60"),
        pytest.param(HANGS, "not done after 8 s", "8", marks=pytest.mark.faults),
    ],
)
def test_it_serves_even_where_the_example_ends_the_process_or_hangs(
    start_server: StartServer, saved: SavedModels, predict: str, says: str, seconds: str
) -> None:
    path = saved.save(predict, input_example=_EXAMPLE)
    server = start_server(str(path), LOAD_TIMEOUT_SECONDS=seconds, WORKERS="2")
    server.wait_healthy()
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["fine"]}
    assert server.wait_for("example_failed")["error"] == says
    info = server.info()
    assert info["example_failed"] == says
    # One may not have said yet that it is done with the request.
    assert [worker["state"] in ("idle", "busy") for worker in info["workers"]] == [True, True]
    assert info["batching"]["merging"] is False


def test_a_worker_that_died_is_replaced_whatever_has_become_of_the_example(
    live: Live, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    predict = _FAILS.format(failure=f"assert not __import__('os').path.exists({str(gone)!r})")
    version = live.serve(live.saved.save(predict, input_example=_EXAMPLE))
    server, mark = live.server, live.server.mark()
    gone.touch()
    (worker,) = server.worker_pids()
    template = psutil.Process(worker).ppid()
    # One that forks has the model loaded, and need not ask it again.
    for pid in (template, worker):
        os.kill(pid, signal.SIGKILL)
    server.wait_for("worker_replaced", since=mark)
    server.wait_for("template_replaced", since=mark)
    event = server.wait_for("example_failed", since=mark)
    assert (event["version"], event["error"]) == (f"v{version}", "AssertionError")
    assert server.predict(TEXT_REQUEST).version == version


def test_it_replaces_nothing_by_ending_the_process_unless_forced(live: Live) -> None:
    server = live.server
    good = live.serve("good")
    assert server.predict(TEXT_REQUEST).version == good
    deadly = live.add(live.saved.save(DIES, input_example=_EXAMPLE))
    mark = server.mark()
    live.promote(deadly)
    failure = server.wait_for("reload_failed", since=mark, failed_version=f"v{deadly}")
    assert (failure["phase"], failure["error"]) == (
        "rehearsal",
        "the worker process ended: exit_code 3",
    )
    assert server.request("POST", "/reload?force=true").status == 200
    assert server.predict(TEXT_REQUEST).version == deadly
    assert server.info()["example_failed"] == "the worker process ended: exit_code 3"


def test_it_takes_the_place_of_another_only_where_real_requests_speak_for_it(live: Live) -> None:
    server = live.server
    wrong = live.add(live.saved.save(RAISES, input_example=_EXAMPLE))
    good = live.serve("good")
    # By force, so that no request is remembered.
    assert server.request("POST", "/reload?force=true").status == 200
    mark = server.mark()
    live.promote(wrong)
    failure = server.wait_for("reload_failed", since=mark, failed_version=f"v{wrong}")
    assert failure["phase"] == "rehearsal"
    assert "own input example: KeyError: 'never saw this word'" in failure["error"]
    assert server.find("example_failed", mark) == []
    assert server.info()["metadata"]["version"] == good
    assert server.info()["example_failed"] is None

    assert server.predict(TEXT_REQUEST).json == {"predictions": ["good"]}
    assert server.reload().status == 200
    event = server.wait_for("example_failed", since=mark)
    swap = server.wait_swapped(wrong, since=mark)
    assert event["version"] == f"v{wrong}"
    assert (swap["rehearsed"], swap["answers_changed"]) == (1, "1 of 1")
    assert server.info()["example_failed"] == "KeyError: 'never saw this word'"
    live.serve("good again")
    assert server.info()["example_failed"] is None
