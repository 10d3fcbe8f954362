"""A real MLflow tracking server over HTTP."""

import atexit
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.waiting import wait_until


class TrackingServer:
    """A `mlflow server` that can be killed and started again on the same port.

    Args:
        directory: Holds its database, `mlflow.db`, and its artifacts.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db"),
                    *("--artifacts-destination", str(self.directory / "artifacts")),
                ],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, "the tracking server answers", 90)

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.directory / "mlflow.db"

    def kill(self) -> None:
        """End it with all its processes, at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/version", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False
