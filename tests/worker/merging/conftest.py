"""A server that the tests of batching share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server

Serve = Callable[..., dict[str, Any]]


@pytest.fixture(scope="package")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Server]:
    """A server that swaps when told to, and rehearses nothing from the test before."""
    registry.create("batching")
    registry.promote("batching", registry.add("batching", saved.saying("first")))
    server = Server(
        tmp_path_factory.mktemp("batching"),
        MODEL_URI="models:/batching/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        POLL_INTERVAL_SECONDS="0",
        REHEARSAL_REQUESTS="0",
    )
    server.wait_healthy()
    yield server
    server.close()


@pytest.fixture
def serve(server: Server, registry: Registry, saved: SavedModels) -> Serve:
    """Saves a model, has the server serve it, and returns what /info says of batching."""

    def serve(predict: str, **options: Any) -> dict[str, Any]:
        registry.promote("batching", registry.add("batching", saved.save(predict, **options)))
        assert server.reload().status == 200
        batching: dict[str, Any] = server.get("/info").json["batching"]
        return batching

    return serve
