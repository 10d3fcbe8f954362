"""What one version tries against the next, and against the server's end."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest

from server.worker import landlock
from tests.end_to_end.faults.hostile import call, hostile
from tests.end_to_end.faults.models import text
from tests.support.live import Live, serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import ended, only_root
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

# Where nothing keeps a model from it: what is stopped is found, and what it would do is given up.
MOST_SECONDS = 30.0

Serve = Callable[..., AbstractContextManager[Live]]


@pytest.fixture
def serve(
    request: pytest.FixtureRequest, scratch: Path, registry: Registry, saved: SavedModels
) -> Serve:
    """Starts a server of the hostile model with these settings."""

    def serve(**settings: str) -> AbstractContextManager[Live]:
        settings.setdefault("DRAIN_TIMEOUT_SECONDS", "3")
        name = "".join(c if c.isalnum() else "-" for c in request.node.name)
        return serving(scratch, registry, saved, name, hostile(saved), **settings)

    return serve


def confined(sandbox: str) -> None:
    """Skip a test that this kernel can't pass."""
    if sandbox == "auto" and landlock.abi() < 6:
        pytest.skip("this kernel can't hold all of it")


def test_a_version_can_not_change_the_next_one(serve: Serve) -> None:
    confined("auto")
    with serve() as live:
        call(live.server, "predict", "take_over('good', 'evil')")

        live.serve("good")

        assert live.server.predict(text("hello")).json == {"predictions": ["good"]}


ALL = ["environment", "lookup", "download", "template", "worker"]


def test_a_version_can_not_stop_the_server(serve: Serve) -> None:
    confined("auto")
    with serve(WORKERS="2") as live:
        server = live.server
        mark = server.mark()
        call(server, "predict", f"keep_stopped({['', *ALL]})")

        assert server.reload().status == 200
        server.process.terminate()
        assert server.wait_exit(MOST_SECONDS) == 0
        assert server.find("environment_lost", mark) == server.find("worker_exited", mark) == []


# Nothing helps a gateway that is stopped itself, but a sandbox.
@pytest.mark.parametrize("names", [ALL, ["download"], ["template"]], ids="-".join)
def test_where_there_is_no_sandbox_what_is_stopped_is_given_up(
    serve: Serve, names: list[str]
) -> None:
    with serve(WORKERS="2", SANDBOX="off") as live:
        server = live.server
        call(server, "predict", f"keep_stopped({names})")

        started = time.monotonic()
        answer = server.reload()
        assert time.monotonic() - started < MOST_SECONDS
        assert answer.status >= 500
        server.process.terminate()
        assert server.wait_exit(MOST_SECONDS) == 0


@pytest.mark.parametrize("sharing", ["auto", "off"])
def test_what_a_model_leaves_ends_with_it_although_it_ends_in_good_order(
    serve: Serve, sharing: str
) -> None:
    with serve(SHARE_MODEL=sharing) as live:
        mark = live.server.mark()
        pids = call(live.server, "predict", "leave_processes()")
        left = [psutil.Process(pid) for pid in pids]
        assert len(left) == 2

        live.serve("another")

        wait_until(lambda: ended(left), "they have ended", 10)
        # It was not looked for because something went wrong.
        live.server.wait_for("release_retired", since=mark)
        assert live.server.find("worker_exited", mark) == []


@only_root
def test_none_of_the_servers_processes_can_be_asked_but_the_gateway(serve: Serve) -> None:
    with serve(WORKERS="2") as live:
        server = live.server
        listening = {
            line.split()[6]
            for line in Path("/proc/net/unix").read_text().splitlines()[1:]
            if int(line.split()[3], 16) & 0x10000
        }
        processes = server.processes()
        assert len(processes) >= 6
        for process in processes:
            links = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
            sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
            assert sockets & listening == set()
            ports = [c for c in process.net_connections("inet") if c.status == "LISTEN"]
            assert len(ports) == (process.pid == server.pid)
