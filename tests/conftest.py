"""What the tests share: registries, saved models, servers."""

import asyncio
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import mlflow
import pytest
import uvloop
from pytest_aiohttp import AiohttpClient
from structlog.testing import capture_logs

from server.processes.environment import Environment
from tests.support.clock import Clock
from tests.support.events import has_its_fields
from tests.support.gateway import Client, Gateway, Listener, running
from tests.support.live import Live
from tests.support.log import Log
from tests.support.models import SavedModels
from tests.support.processes import Processes
from tests.support.registry import HttpRegistry, Registry
from tests.support.server import Server
from tests.support.tracking import TrackingServer


def pytest_configure() -> None:
    """Run the tests on the event loop that the server runs on.

    Not by `pytest_asyncio_loop_factories`: that parametrizes each asynchronous test, and pytest
    would set up every module's fixtures twice, once for these and once for the others.
    """
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, keep those of a file in one; and the demo's, as
    it takes long to start."""
    for item in items:
        demo = "demo" in item.path.parts
        item.add_marker(pytest.mark.xdist_group("demo" if demo else str(item.path)))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database in an SQLite file: making its tables takes seconds."""
    path = tmp_path_factory.mktemp("registry") / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    Registry(f"sqlite:///{path}").client.search_registered_models()
    return path


@pytest.fixture(scope="session")
def registry(database: Path) -> Registry:
    """A registry in an SQLite file, for tests that need no server in between."""
    return Registry(f"sqlite:///{database}")


@pytest.fixture(scope="session")
def tracking_server(
    tmp_path_factory: pytest.TempPathFactory, database: Path
) -> Iterator[TrackingServer]:
    """A real MLflow tracking server over HTTP, with a database of its own."""
    directory = tmp_path_factory.mktemp("tracking")
    shutil.copy(database, directory)
    server = TrackingServer(directory)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def http_registry(tracking_server: TrackingServer) -> HttpRegistry:
    """The tracking server's registry."""
    return HttpRegistry(tracking_server.url)


@pytest.fixture
def clock() -> Clock:
    """Tells the time to what takes it as an argument."""
    return Clock()


@pytest.fixture
def model_name(request: pytest.FixtureRequest) -> str:
    """A name for a registered model that no other test uses."""
    name: str = request.node.name
    return "".join(c if c.isalnum() or c == "_" else "-" for c in name)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, database: Path) -> SavedModels:
    """Saved models, and a place to save more."""
    return SavedModels(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
async def environment(
    tmp_path_factory: pytest.TempPathFactory, database: Path
) -> AsyncIterator[Environment]:
    """What the processes of the tests' own gateways are forked from."""
    # A pipe, as under the server: Python's own streams remember whether they can seek.
    readable, writable = os.pipe()
    log = tmp_path_factory.mktemp("environment") / "log"
    with os.fdopen(readable, "rb") as source, log.open("wb") as target:
        reader = threading.Thread(target=shutil.copyfileobj, args=(source, target))
        reader.start()
        environment = Environment(writable, ())
        yield environment
        await environment.stop()
        os.close(writable)
        reader.join()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Processes]:
    """The same for tests that are not asynchronous."""
    log = tmp_path_factory.mktemp("processes") / "log"
    processes = Processes(log, ())
    yield processes
    processes.close()


class StartGateway(Protocol):
    """Starts a gateway in the tests' event loop, serving a model if one is given.

    The settings are those of `server.settings.Settings`.
    """

    async def __call__(self, model: str | Path | None = None, **settings: Any) -> Gateway: ...


@pytest.fixture(scope="module")
async def start_gateway(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    environment: Environment,
    registry: Registry,
    saved: SavedModels,
) -> AsyncIterator[StartGateway]:
    """Starts gateways, each with a registered model of its own, and ends them with the module."""
    module = request.node.name.replace("/", "-").removesuffix(".py")
    number = 0
    async with AsyncExitStack() as stack:

        async def start(model: str | Path | None = None, **settings: Any) -> Gateway:
            nonlocal number
            number += 1
            name = f"{module}-{number}"
            registry.create(name)
            scratch = tmp_path_factory.mktemp("scratch")
            # Models tell by files in the tests' own folders how far they have come.
            settings.setdefault("sandbox_writable", (str(tmp_path_factory.getbasetemp()),))
            return await stack.enter_async_context(
                running(environment, registry, saved, scratch, name, model, **settings)
            )

        yield start


class Connect(Protocol):
    """Opens a way in to a gateway and returns a client of it."""

    async def __call__(self, gateway: Gateway) -> Client: ...


@pytest.fixture
def connect(aiohttp_client: AiohttpClient) -> Connect:
    """Opens ways in to gateways, and closes them after the test."""

    async def connect(gateway: Gateway) -> Client:
        return Client(await aiohttp_client(Listener(gateway)), gateway)

    return connect


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that serves a model which answers "stable"; modules have their own."""
    return await start_gateway("stable", max_body_bytes=1_000_000)


@pytest.fixture
async def client(gateway: Gateway, connect: Connect) -> Client:
    """A client of the gateway."""
    return await connect(gateway)


@pytest.fixture
def log() -> Iterator[Log]:
    """What gateways log during the test; each event must have its fields."""
    with capture_logs() as events:
        yield Log(events)
    assert [event for event in events if not has_its_fields(event)] == []


class StartServer(Protocol):
    """Starts a server with these settings and returns it as soon as it listens."""

    def __call__(self, model_uri: str, **environment: str) -> Server: ...


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The servers' TMPDIR. Its name is short: sockets in it have but 107 bytes for theirs."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def sharing() -> str:
    """SHARE_MODEL of the servers that a test starts; tests to run both ways are parametrised by
    it."""
    return os.environ.get("SHARE_MODEL") or "auto"


@pytest.fixture
def start_server(scratch: Path, registry: Registry, sharing: str) -> Iterator[StartServer]:
    """Starts servers, and ends them after the test."""
    servers: list[Server] = []

    def start(model_uri: str, **environment: str) -> Server:
        environment.setdefault("MLFLOW_TRACKING_URI", registry.uri)
        environment.setdefault("SHARE_MODEL", sharing)
        server = Server(scratch, MODEL_URI=model_uri, **environment)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def running_live(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Callable[[], Live]]:
    """The shared server, started when it is first needed, and again should a test have ended it."""
    lives: list[Live] = []

    def get() -> Live:
        if lives and lives[-1].server.process.poll() is None:
            return lives[-1]
        name = f"live-{len(lives)}"
        registry.create(name)
        registry.promote(name, registry.add(name, saved.saying("first")))
        server = Server(
            tmp_path_factory.mktemp("live"),
            MODEL_URI=f"models:/{name}/Production",
            MLFLOW_TRACKING_URI=registry.uri,
            MAX_BODY_BYTES="1000000",
        )
        lives.append(Live(server, registry, name, saved))
        server.wait_healthy()
        return lives[-1]

    yield get
    for live in lives:
        live.server.close()


@pytest.fixture
def live(running_live: Callable[[], Live]) -> Live:
    """A server that serves some version. What a test wants it to serve, it promotes itself."""
    return running_live()
