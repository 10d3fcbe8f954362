"""What cleans up temporary files may remove the server's, too."""

import os
import shutil
import signal
from pathlib import Path

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels


def test_a_version_whose_files_are_gone_is_fetched_again(
    start_server: StartServer, saved: SavedModels
) -> None:
    server = start_server(str(saved.saying("one")))
    server.wait_healthy()
    (release,) = server.release_directories()
    (worker,) = server.worker_pids()

    shutil.rmtree(release)
    os.kill(worker, signal.SIGKILL)

    server.wait_for("worker_replaced", old_pid=worker)
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}
    shutil.rmtree(Path(release).parent)
    assert server.reload().status == 200
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}
    assert all(path.stat().st_mode & 0o077 == 0 for path in server.scratch.glob("mlflow-server-*"))
