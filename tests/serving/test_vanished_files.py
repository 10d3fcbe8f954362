"""What cleans up temporary files may remove the server's, too."""

import os
import shutil
import signal

from tests.conftest import Connect, StartGateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels


async def test_a_version_whose_files_are_gone_is_fetched_again(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels, log: Log
) -> None:
    gateway = await start_gateway(model_uri=str(saved.saying("one")))
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
