"""Servers that the tests of faults share, each with limits small enough to be met."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.end_to_end.faults.gates import Gates
from tests.end_to_end.faults.proxy import Proxy
from tests.support.live import Live, serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.tracking import TrackingServer

LOAD_TIMEOUT = 7.0
IMPATIENCE = 3.0

_LIMITS = {
    "patient": {
        "REQUEST_TIMEOUT_SECONDS": "30",
        "LOAD_TIMEOUT_SECONDS": str(LOAD_TIMEOUT),
    },
    "impatient": {"REQUEST_TIMEOUT_SECONDS": str(IMPATIENCE)},
    "several": {"CONCURRENCY": "8"},
}


@pytest.fixture(scope="package")
def start_once(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Callable[[str, str], Live]]:
    """Starts the server of that name with that SHARE_MODEL, unless it runs already."""
    with ExitStack() as servers:

        @cache
        def start(name: str, sharing: str) -> Live:
            directory = tmp_path_factory.mktemp(name)
            settings = {
                "DRAIN_TIMEOUT_SECONDS": "3",
                "SHARE_MODEL": sharing,
                # Models tell by files in the tests' own folders how far they have come.
                "SANDBOX_WRITABLE": str(tmp_path_factory.getbasetemp()),
                **_LIMITS[name],
            }
            live = serving(directory, registry, saved, f"{name}-{sharing}", **settings)
            return servers.enter_context(live)

        yield start


@pytest.fixture
def patient(start_once: Callable[[str, str], Live], sharing: str) -> Live:
    """A server that gives requests time, but little to a load."""
    return start_once("patient", sharing)


@pytest.fixture
def impatient(start_once: Callable[[str, str], Live], sharing: str) -> Live:
    """A server that gives a prediction little time."""
    return start_once("impatient", sharing)


@pytest.fixture
def several(start_once: Callable[[str, str], Live], sharing: str) -> Live:
    """A server that asks its model several things at a time."""
    return start_once("several", sharing)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Gates:
    """Where swaps can be held up."""
    return Gates(tmp_path_factory.mktemp("gates"))


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
