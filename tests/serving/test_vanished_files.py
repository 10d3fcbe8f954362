"""What cleans up temporary files may remove the server's, too."""

import asyncio
import os
import shutil
import signal
from typing import Any

import pytest

from server.processes.environment import Environment
from server.processes.forker import Forked
from tests.conftest import Connect, StartGateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels


async def test_a_version_whose_files_are_gone_is_fetched_again(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, log: Log
) -> None:
    gateway = await start_gateway(model_uri=str(saved.saying("one")), sandbox_writable=())
    await gateway.watcher.poll()
    client = await connect(gateway)
    (release,) = gateway.release_directories()
    (worker,) = await client.worker_pids()

    shutil.rmtree(release)
    os.kill(worker, signal.SIGKILL)

    await log.wait_for("worker_replaced", old_pid=worker)
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["one"]}
    shutil.rmtree(release.parent)
    assert (await client.reload()).status == 200
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["one"]}
    directories = list(gateway.scratch.glob("mlflow-server-*"))
    assert len(directories) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in directories)


async def test_several_workers_whose_files_are_gone_fetch_them_once(
    start_gateway: StartGateway,
    connect: Connect,
    environment: Environment,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = await start_gateway("one", workers=3, share_model="off", sandbox_writable=())
    client = await connect(gateway)
    workers = await client.worker_pids()
    started = []
    fork = environment.fork

    async def noting(name: str, *arguments: Any, **options: Any) -> Forked:
        started.append(name)
        return await fork(name, *arguments, **options)

    monkeypatch.setattr(environment, "fork", noting)

    (release,) = gateway.release_directories()
    shutil.rmtree(release)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)

    replaced = (log.wait_for("worker_replaced", old_pid=worker) for worker in workers)
    await asyncio.gather(*replaced)
    # Another one would write over what the first one loads.
    assert started.count("download") == 1
    assert started.count("worker") == 3
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["one"]}


async def test_a_shared_worker_finds_a_place_for_temporary_files(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, log: Log
) -> None:
    predict = """
        import tempfile
        with tempfile.TemporaryFile():
            return ["written"] * len(model_input)
    """
    gateway = await start_gateway(saved.save(predict), sandbox_writable=())
    client = await connect(gateway)
    assert (await client.info())["workers_share"] is True
    (worker,) = await client.worker_pids()
    (release,) = gateway.release_directories()
    shutil.rmtree(release)
    os.kill(worker, signal.SIGKILL)
    await log.wait_for("worker_replaced", old_pid=worker)
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["written"]}
