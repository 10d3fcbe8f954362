"""A gateway that may open no more files serves on."""

from itertools import count, islice
from pathlib import Path

import psutil

from tests.support.live import Live
from tests.support.models import TEXT_REQUEST
from tests.support.server import only_root
from tests.support.waiting import wait_until


@only_root
def test_a_machine_without_a_descriptor_to_spare_fails_the_reload_and_nothing_else(
    live: Live,
) -> None:
    server, mark = live.server, live.server.mark()
    version = live.serve("good")
    # Until then, it looks through the processes, and holds descriptors for moments.
    server.wait_for("release_retired", since=mark)
    mark = server.mark()
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
    # At worst the environment process was hit as well; then it is started again.
    wait_until(lambda: server.reload().status == 200, "a reload works again")
