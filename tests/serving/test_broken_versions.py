"""A new version that would not serve is never met by anyone."""

import asyncio
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import psutil
import pytest

from tests.support.live import Live
from tests.support.load import load
from tests.support.models import TEXT_REQUEST
from tests.support.waiting import wait_until


@dataclass(frozen=True, slots=True)
class Broken:
    """A model that won't serve, the phase in which that shows, and what is said about it."""

    phase: str
    says: str
    load: str = "pass"
    predict: str = "return ['never'] * len(model_input)"


BROKEN = {
    "raises while loading": Broken(
        "load", "the weights are corrupt", load="raise RuntimeError('the weights are corrupt')"
    ),
    "raises on its own input example": Broken(
        "rehearsal", "never saw this word", predict="raise KeyError('never saw this word')"
    ),
    "calls os._exit": Broken("load", "exit_code 1", load="import os; os._exit(1)"),
    "calls sys.exit": Broken("load", "SystemExit", load="import sys; sys.exit('no licence')"),
    "kills itself with SIGSEGV": Broken(
        "load", "SIGSEGV", load="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    ),
    "dies of its own input example": Broken(
        "rehearsal", "exit_code 3", predict="import os; os._exit(3)"
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_version_is_refused_and_the_next_one_repairs_it(
    live: Live, broken: Broken
) -> None:
    server = live.server
    good = await asyncio.to_thread(live.serve, "good")
    bad = live.add(live.saved.save(broken.predict, load=broken.load))
    repaired = live.add("repaired")
    mark = server.mark()

    async with load(server.url, TEXT_REQUEST, clients=8) as clients:
        live.promote(bad)
        failure = await asyncio.to_thread(
            server.wait_for, "reload_failed", failed_version=f"v{bad}", since=mark
        )
        answer = await asyncio.to_thread(server.reload)
        info = await asyncio.to_thread(server.info)
        await clients.answered(20)
        live.promote(repaired)
        await asyncio.to_thread(server.wait_swapped, repaired, since=mark)
        await clients.answered(20)

    assert clients.failures == []
    assert clients.versions == {good, repaired}

    assert failure["trigger"] == "watcher"
    assert failure["serving_version"] == f"v{good}"
    assert failure["phase"] == broken.phase
    assert broken.says in failure["error"]
    assert failure["retry_in_seconds"] > 0

    assert answer.status == 500
    message = answer.json["message"]
    assert broken.phase in message
    assert broken.says in message
    assert answer.json == {
        "status": "error",
        "message": message,
        "model_uri": f"models:/{live.name}/Production",
        "old_version": f"v{good}",
        "version_changed": False,
    }
    manual = server.find("reload_failed", mark, trigger="manual", failed_version=f"v{bad}")
    assert [event["request_id"] for event in manual] == [answer.headers["x-request-id"]]

    assert info["metadata"]["version"] == good
    assert info["last_reload"]["outcome"] == "failed"
    assert broken.says in info["last_reload"]["error"]
    await asyncio.to_thread(
        wait_until, lambda: len(server.release_directories()) == 1, "nothing of them is left"
    )


def test_a_failure_is_logged_with_the_traceback_and_answered_without_paths(live: Live) -> None:
    live.serve("good")
    load_body = "open(context.artifacts.get('missing', __file__ + '.weights'))"
    bad = live.add(live.saved.save("return []", load=load_body))
    mark = live.server.mark()
    live.promote(bad)

    answer = live.server.reload()

    assert answer.status == 500
    assert "No such file" in answer.json["message"]
    assert "Traceback" not in answer.json["message"]
    assert str(live.server.scratch) not in answer.json["message"]
    event = live.server.wait_for("reload_failed", since=mark, failed_version=f"v{bad}")
    assert "Traceback (most recent call last)" in event["exception"]
    assert str(live.server.scratch) in event["exception"]


def test_a_version_that_failed_is_retried_with_growing_pauses(live: Live, tmp_path: Path) -> None:
    live.serve("good")
    mended = tmp_path / "mended"
    load_body = f"""
        import pathlib
        if not pathlib.Path({str(mended)!r}).exists():
            raise RuntimeError("not mended yet")
    """
    bad = live.add(live.saved.save("return ['mended'] * len(model_input)", load=load_body))
    mark = live.server.mark()
    live.promote(bad)

    live.server.wait_for("reload_failed", since=mark, count=2, failed_version=f"v{bad}")
    mended.touch()
    live.server.wait_swapped(bad, since=mark, trigger="watcher")

    failures = live.server.find("reload_failed", mark, failed_version=f"v{bad}")
    assert [event["retry_in_seconds"] for event in failures] == [1.0, 2.0]
    assert len(live.server.find("version_moved", mark)) == 1


def test_a_machine_without_a_descriptor_to_spare_fails_the_reload_and_nothing_else(
    live: Live,
) -> None:
    version = live.serve("good")
    server, mark = live.server, live.server.mark()
    gateway = psutil.Process(server.pid)
    soft, hard = gateway.rlimit(psutil.RLIMIT_NOFILE)
    # The limit is a bound on the numbers of new descriptors: one that is free is left, for the
    # request.
    open_now = {int(path.name) for path in Path(f"/proc/{server.pid}/fd").iterdir()}
    _one_left, bound = islice((n for n in count() if n not in open_now), 2)
    gateway.rlimit(psutil.RLIMIT_NOFILE, (bound, hard))
    try:
        answer = server.reload()
    finally:
        gateway.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))

    assert answer.status == 500
    assert "start" in answer.json["message"]
    assert answer.json["old_version"] == f"v{version}"
    failure = server.wait_for("reload_failed", since=mark, trigger="manual")
    assert (failure["phase"], failure["serving_version"]) == ("start", f"v{version}")
    assert server.predict(TEXT_REQUEST).version == version
    # At worst the fork server was hit as well; then it is started again.
    wait_until(lambda: server.reload().status == 200, "a reload works again")
