"""The servers that are compared: how each is started and asked."""

import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.client import HOST, post
from benchmarks.environments import Environment
from benchmarks.paths import BENCH, PACKAGE, REPOSITORY
from benchmarks.processes import ServerProcess, free_port

_START_SECONDS = 120.0
_PEERS = PACKAGE / "peers"


@dataclass(frozen=True, slots=True)
class Site:
    """What a server is given.

    Attributes:
        port: Where it is to listen, on HOST.
        directory: For files of its own.
        programs: Where the programs of its environment are.
        tracking_uri: The registry.
        model_uri: The model, for those that ask a registry.
        model_path: The same model's files, for those that don't.
    """

    port: int
    directory: Path
    programs: Path
    tracking_uri: str
    model_uri: str
    model_path: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, where to run it, and environment variables on top of the parent's."""

    command: list[str]
    directory: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Competitor:
    """A kind of server.

    Attributes:
        key: What options and results call it.
        title: What people read.
        launch: How it is started.
        health: A path that answers 200 once the model serves.
        path: Where predictions are asked for.
        body: The request for one text.
        labels: The predictions in an answer.
        environment: What it needs beyond this server's environment.
        package: The installed package whose version is reported.
        predicts: Whether its answers are the model's.
    """

    key: str
    title: str
    launch: Callable[[Site], Launch]
    health: str
    path: str = "/invocations"
    body: Callable[[str], Any] = lambda text: {"instances": [text]}
    labels: Callable[[Any], Any] = lambda answer: answer["predictions"]
    environment: Environment | None = None
    package: str | None = None
    predicts: bool = True

    def prepare(self) -> Path:
        """Install what it needs, and return where its programs are."""
        if self.environment is None:
            return Path(sys.executable).parent
        return self.environment.prepare(BENCH)

    def version(self, programs: Path) -> str | None:
        """Its version, given where its programs are."""
        if self.environment is not None:
            return self.environment.version(programs)
        return importlib.metadata.version(self.package) if self.package else None


class Running:
    """A competitor that was started. Leaving the context ends it.

    Args:
        competitor: Its kind.
        site: What it is given.
    """

    def __init__(self, competitor: Competitor, site: Site) -> None:
        self.competitor = competitor
        self.port = site.port
        self.url = f"http://{HOST}:{site.port}{competitor.path}"
        launch = competitor.launch(site)
        self.process = ServerProcess(
            competitor.title,
            launch.command,
            directory=launch.directory,
            env=launch.env,
            log=site.directory / "output.log",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.end()

    def wait_until_ready(self) -> None:
        """Return when it serves.

        Raises:
            BenchmarkError: it ended, or isn't ready in time.
        """
        self.process.wait_until_ready(self.port, self.competitor.health, _START_SECONDS)

    def predict(self, text: str) -> Any:
        """The label that it answers for a text."""
        answer = post(self.port, self.competitor.path, self.competitor.body(text))
        return self.competitor.labels(answer)[0]


def this_server(
    checkout: Path = REPOSITORY, *, python: Path | None = None, **settings: str
) -> Competitor:
    """`python -m server`, with these settings on top of its defaults.

    Args:
        checkout: The repository that it is run from, by the Python in its `.venv` if it is another
            one than this.
        python: Runs it instead of that.
        settings: Environment variables.
    """
    if python is None:
        other = checkout != REPOSITORY
        python = checkout / ".venv/bin/python" if other else Path(sys.executable)

    def launch(site: Site) -> Launch:
        env = {
            "MODEL_URI": site.model_uri,
            "MLFLOW_TRACKING_URI": site.tracking_uri,
            "HOST": HOST,
            "PORT": str(site.port),
            "LOG_FORMAT": "json",
            **settings,
        }
        return Launch([str(python), "-m", "server"], checkout, env)

    return Competitor("this", "this server", launch, "/health")


def mlflow_server(python: Path = Path(sys.executable)) -> Competitor:
    """`mlflow models serve`, run by this Python."""

    def launch(site: Site) -> Launch:
        command = [
            *(str(python), "-m", "mlflow", "models", "serve", "--env-manager", "local"),
            *("--model-uri", site.model_uri, "--host", HOST, "--port", str(site.port)),
        ]
        return Launch(command, site.directory, {"MLFLOW_TRACKING_URI": site.tracking_uri})

    return Competitor("mlflow", "mlflow models serve", launch, "/ping", package="mlflow")


MLFLOW = mlflow_server()


def _launch_mlserver(site: Site) -> Launch:
    settings = {
        "debug": False,
        "host": HOST,
        "http_port": site.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
    }
    model = {
        "name": "text",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "max_batch_size": 256,
        # The best of 1, 5 and 20 ms at 1 to 256 connections.
        "max_batch_time": 0.001,
        "parameters": {"uri": str(site.model_path)},
    }
    (site.directory / "settings.json").write_text(json.dumps(settings))
    (site.directory / "model-settings.json").write_text(json.dumps(model))
    return Launch([str(site.programs / "mlserver"), "start", "."], site.directory)


def _mlserver_body(text: str) -> Any:
    # Its batching works for the Open Inference Protocol only, not for its own /invocations.
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


MLSERVER = Competitor(
    "mlserver",
    "MLServer, adaptive batching",
    _launch_mlserver,
    "/v2/models/text/ready",
    path="/v2/models/text/infer",
    body=_mlserver_body,
    labels=lambda answer: answer["outputs"][0]["data"],
    environment=Environment(
        "mlserver", "mlserver", ("mlserver>=1.7,<1.8", "mlserver-mlflow>=1.7,<1.8", "uvloop<0.22")
    ),
)


def _launch_bentoml(site: Site) -> Launch:
    command = [
        *(str(site.programs / "bentoml"), "serve", "bentoml_service:TextModel"),
        *("--working-dir", str(_PEERS), "--host", HOST, "--port", str(site.port)),
    ]
    env = {
        "MODEL_PATH": str(site.model_path),
        "BENTOML_HOME": str(site.directory / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return Launch(command, site.directory, env)


BENTOML = Competitor(
    "bentoml",
    "BentoML, adaptive batching",
    _launch_bentoml,
    "/readyz",
    path="/predict",
    body=lambda text: {"texts": [text]},
    labels=lambda answer: answer,
    environment=Environment("bentoml", "bentoml", ("bentoml>=1.4,<1.5",)),
)


def _launch_empty(site: Site) -> Launch:
    command = [sys.executable, "-m", "benchmarks.peers.empty_handler", str(site.port)]
    return Launch(command, REPOSITORY)


EMPTY = Competitor(
    "empty",
    "an empty aiohttp handler",
    _launch_empty,
    "/health",
    package="aiohttp",
    predicts=False,
)
