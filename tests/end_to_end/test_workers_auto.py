"""WORKERS=auto: as many workers as the processors that the server may run on."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.server import Server

pytestmark = pytest.mark.faults

ALLOWED = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize("cores", sorted({1, min(2, len(ALLOWED))}))
def test_there_are_as_many_workers_as_cores(
    saved: SavedModels, start_server: StartServer, cores: int
) -> None:
    def start() -> Server:
        # Affinity belongs to a thread, and a process has that of the thread that started it.
        os.sched_setaffinity(0, ALLOWED[:cores])
        return start_server(str(saved.saying("one")), WORKERS="auto")

    with ThreadPoolExecutor(1) as thread:
        server = thread.submit(start).result()
    server.wait_healthy()

    assert len(server.worker_pids()) == cores
    assert server.find("server_started")[0]["workers"] == cores
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}
