"""Swapping for ever costs nothing for ever."""

from dataclasses import dataclass, replace

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server, only_root
from tests.support.waiting import wait_until

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Usage:
    """What the gateway and what lives as long as it does hold."""

    processes: int
    files: int
    directories: int
    temporary_files: int


def usage(server: Server) -> Usage:
    """Count what the server holds."""
    last = [psutil.Process(server.pid), *server.named("environment"), *server.named("lookup")]
    return Usage(
        processes=len(server.processes()),
        files=sum(process.num_fds() for process in last),
        directories=len(server.release_directories()),
        temporary_files=sum(1 for _ in server.scratch.rglob("*")),
    )


def memory(server: Server) -> int:
    """Bytes of memory that would be freed if the gateway ended."""
    memory = psutil.Process(server.pid).memory_info()
    return int(memory.rss - memory.shared)


@only_root
@pytest.mark.faults
@pytest.mark.parametrize(
    ("sharing", "early", "late"), [("auto", 20, 200), ("off", 10, 50)], ids=["shared", "not shared"]
)
def test_many_swaps_leave_no_more_behind_than_a_few(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    sharing: str,
    early: int,
    late: int,
) -> None:
    registry.create(model_name)
    for word in ("one", "two"):
        registry.add(model_name, saved.saying(word))
    registry.point(model_name, "production", "1")
    server = start_server(
        f"models:/{model_name}@production",
        POLL_INTERVAL_SECONDS="0",
        WORKERS=str(WORKERS),
    )
    server.wait_healthy()
    swaps = 0

    def swap(until: int) -> None:
        nonlocal swaps
        while swaps < until:
            version = "12"[(swaps + 1) % 2]
            registry.point(model_name, "production", version)
            answer = server.reload()
            assert (answer.status, answer.json["version_changed"]) == (200, True)
            assert server.predict(TEXT_REQUEST).version == version
            swaps += 1
        server.wait_for("release_retired", count=swaps, seconds=20)

    swap(early)
    # The gateway, the environment, its resource tracker, the look-up process, the workers, and the
    # template.
    processes = 4 + WORKERS + (sharing == "auto")
    wait_until(lambda: usage(server).processes == processes, "retired workers have ended")
    first, first_memory = usage(server), memory(server)
    swap(late)

    # The pipe of a worker that has ended is read for a moment longer.
    wait_until(lambda: usage(server).processes == processes, "retired workers have ended")
    wait_until(lambda: usage(server).files <= first.files, "files are closed", 10)
    last = usage(server)
    assert last == replace(first, files=last.files)
    assert memory(server) <= first_memory * 1.05
