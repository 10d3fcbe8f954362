"""Servers that the tests of faults share, each with limits small enough to be met."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.faults.proxy import Proxy
from tests.support.live import Live
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.tracking import TrackingServer

LOAD_TIMEOUT = 7.0
IMPATIENCE = 3.0


def _live(
    directory: Path, registry: Registry, saved: SavedModels, name: str, **settings: str
) -> Live:
    registry.create(name)
    registry.promote(name, registry.add(name, saved.saying("first")))
    server = Server(
        directory,
        MODEL_URI=f"models:/{name}/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        DRAIN_TIMEOUT_SECONDS="3",
        **settings,
    )
    server.wait_healthy()
    return Live(server, registry, name, saved)


@pytest.fixture(scope="package")
def patient(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server that gives requests time, but little to a load."""
    live = _live(
        tmp_path_factory.mktemp("patient"),
        registry,
        saved,
        "patient",
        REQUEST_TIMEOUT_SECONDS="30",
        LOAD_TIMEOUT_SECONDS=str(LOAD_TIMEOUT),
    )
    yield live
    live.server.close()


@pytest.fixture(scope="package")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Live]:
    """A server that gives a prediction little time."""
    live = _live(
        tmp_path_factory.mktemp("impatient"),
        registry,
        saved,
        "impatient",
        REQUEST_TIMEOUT_SECONDS=str(IMPATIENCE),
    )
    yield live
    live.server.close()


@pytest.fixture(scope="package")
def proxy(tracking_server: TrackingServer) -> Iterator[Proxy]:
    """A proxy in front of the tracking server."""
    proxy = Proxy(tracking_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def healed(proxy: Proxy) -> Iterator[Proxy]:
    """The proxy; after the test it passes everything on again."""
    yield proxy
    proxy.heal()
