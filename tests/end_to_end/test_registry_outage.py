"""The registry goes away and comes back; predictions do not depend on it."""

import asyncio

import pytest

from tests.conftest import StartServer
from tests.support.load import load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry
from tests.support.tracking import TrackingServer
from tests.support.waiting import wait_until


@pytest.mark.faults
async def test_predictions_go_on_while_the_tracking_server_is_away(
    tracking_server: TrackingServer,
    http_registry: HttpRegistry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
) -> None:
    http_registry.create(model_name)
    for word in ("one", "two"):
        http_registry.add(model_name, saved.saying(word))
    http_registry.promote(model_name, "1")
    server = start_server(
        f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=tracking_server.url
    )
    server.wait_healthy()

    def outcome() -> str:
        return str(server.info()["watcher"]["last_outcome"])

    async with load(server.url, TEXT_REQUEST, clients=8) as clients:
        tracking_server.kill()
        away = await asyncio.to_thread(server.wait_for, "registry_unreachable")
        reload = await asyncio.to_thread(server.reload)
        health = await asyncio.to_thread(server.get, "/health")
        assert outcome() == "unreachable"
        await asyncio.to_thread(tracking_server.start)
        await asyncio.to_thread(server.wait_for, "registry_recovered")
        await asyncio.to_thread(wait_until, lambda: outcome() == "unchanged", "polls go on")
        http_registry.promote(model_name, "2")
        await asyncio.to_thread(server.wait_swapped, "2")
        await clients.answered(20)

    assert clients.failures == []
    assert clients.versions == {"1", "2"}
    assert len(server.find("registry_unreachable")) == 1
    assert len(server.find("registry_recovered")) == 1
    assert away["serving_version"] == "v1"
    assert health.status == 200
    assert reload.status == 503
    assert int(reload.headers["retry-after"]) > 0
    assert reload.json["status"] == "error"
    assert reload.json["old_version"] == "v1"
    assert reload.json["version_changed"] is False
