"""What the tests share: a registry, saved models, servers."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from tests.support.models import TEXT_EXAMPLE, Registry, save_model
from tests.support.server import Server, wait_until


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry in an SQLite file, for tests that need no server in between."""
    directory = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{directory}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    return Registry(uri)


@pytest.fixture
def model_name(request: pytest.FixtureRequest) -> str:
    """A name for a registered model that no other test uses."""
    name: str = request.node.name
    return "".join(c if c.isalnum() or c == "_" else "-" for c in name)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Saves, once per session, models that answer each row with a given word."""
    directory = tmp_path_factory.mktemp("models")
    paths: dict[str, Path] = {}

    def get(word: str) -> Path:
        if word not in paths:
            predict = f"return [{word!r}] * len(model_input)"
            paths[word] = save_model(directory, predict, input_example=TEXT_EXAMPLE)
        return paths[word]

    return get


StartServer = Callable[..., Server]


@pytest.fixture
def start_server(tmp_path: Path, registry: Registry) -> Iterator[StartServer]:
    """Starts servers, and ends them after the test."""
    servers: list[Server] = []

    def start(model_uri: str, **environment: str) -> Server:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        environment.setdefault("MLFLOW_TRACKING_URI", registry.uri)
        server = Server(scratch, MODEL_URI=model_uri, **environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


class TrackingServer:
    """A real `mlflow server` that can be killed and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until its API answers."""
        database = f"sqlite:///{self.directory}/mlflow.db"
        log = (self.directory / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", "1"),
                    *("--backend-store-uri", database),
                    *("--artifacts-destination", str(self.directory / "artifacts")),
                ],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, "the tracking server answers", 60)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/version", timeout=5) as response:  # noqa: S310
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End it with all its processes, at once."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A real MLflow tracking server over HTTP."""
    server = TrackingServer(tmp_path_factory.mktemp("tracking"))
    yield server
    server.kill()
