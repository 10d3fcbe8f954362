"""Swapping versions under load, by each trigger, forth and back."""

import asyncio

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.load import load
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry, Registry
from tests.support.server import Server
from tests.support.waiting import wait_until


async def swap_forth_and_back(server: Server, registry: Registry, name: str, trigger: str) -> None:
    """Move a server from version 1 to 2 and back under load; nobody may notice."""

    async def move_to(version: str) -> float:
        mark = server.mark()
        registry.point(name, "production", version)
        registry.promote(name, version)
        if trigger == "manual":
            answer = await asyncio.to_thread(server.reload)
            expected = {
                "status": "success",
                "message": f"Model '{name}' reloaded successfully - version changed!",
                "model_uri": f"models:/{name}@production",
                "old_version": "v1" if version == "2" else "v2",
                "new_version": f"v{version}",
                "version_changed": True,
            }
            assert answer.status == 200
            assert {key: answer.json[key] for key in expected} == expected
        swap = await asyncio.to_thread(server.wait_swapped, version, since=mark, trigger=trigger)
        assert swap["version_changed"] is True
        await clients.answered(200)
        return swap.read_at

    server.wait_healthy()
    first_worker = server.worker_pids()[0]
    async with load(server.url, TEXT_REQUEST) as clients:
        await clients.answered(200)
        forth = await move_to("2")
        await asyncio.to_thread(
            wait_until, lambda: not psutil.pid_exists(first_worker), "version 1's worker is gone"
        )
        await asyncio.to_thread(
            wait_until, lambda: len(server.release_directories()) == 1, "its directory is gone"
        )
        samples_of_two = len(clients.samples)
        assert {s.version for s in clients.samples if s.sent > forth} == {"2"}
        back = await move_to("1")

    assert clients.failures == []
    assert clients.versions == {"1", "2"}
    assert {s.version for s in clients.samples[:samples_of_two] if s.sent > forth} == {"2"}
    assert clients.versions_sent_after(back) == {"1"}
    assert clients.answers_of("1") == {b'{"predictions":["one"]}'}
    assert clients.answers_of("2") == {b'{"predictions":["two"]}'}
    assert len(server.find("version_moved")) == (2 if trigger == "watcher" else 0)


async def test_a_promotion_in_a_tracking_server_is_followed_without_a_failed_request(
    http_registry: HttpRegistry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    http_registry.create(model_name)
    for word in ("one", "two"):
        http_registry.add(model_name, saved.saying(word))
    http_registry.promote(model_name, "1")
    server = start_server(f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=http_registry.uri)
    await swap_forth_and_back(server, http_registry, model_name, "watcher")


@pytest.mark.parametrize(("trigger", "concurrency"), [("watcher", "8"), ("manual", "auto")])
async def test_a_moved_alias_is_followed_without_a_failed_request(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    trigger: str,
    concurrency: str,
) -> None:
    registry.create(model_name)
    for word in ("one", "two"):
        registry.add(model_name, saved.saying(word))
    registry.point(model_name, "production", "1")
    server = start_server(
        f"models:/{model_name}@production",
        POLL_INTERVAL_SECONDS="0" if trigger == "manual" else "0.2",
        CONCURRENCY=concurrency,
    )
    await swap_forth_and_back(server, registry, model_name, trigger)
    assert server.info()["alias"] == "production"
