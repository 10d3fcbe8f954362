"""Swapping versions under load, by each trigger."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.load import load
from tests.support.models import Registry

BODY = {"instances": ["some text"]}


@pytest.mark.parametrize("trigger", ["stage", "alias", "reload"])
async def test_no_request_fails_while_a_version_is_swapped(
    registry: Registry,
    model_name: str,
    saved: Callable[[str], Path],
    start_server: StartServer,
    trigger: str,
) -> None:
    registry.create(model_name)
    for word in ("one", "two"):
        registry.add(model_name, saved(word))
    registry.promote(model_name, "1")
    registry.point(model_name, "production", "1")
    suffix = "@production" if trigger == "alias" else "/Production"
    interval = "0" if trigger == "reload" else "0.2"
    server = start_server(f"models:/{model_name}{suffix}", POLL_INTERVAL_SECONDS=interval)
    server.wait_healthy()

    async with load(f"{server.url}/invocations", BODY) as clients:
        await clients.answered(200)
        registry.promote(model_name, "2")
        registry.point(model_name, "production", "2")
        if trigger == "reload":
            import asyncio

            answer = await asyncio.to_thread(server.reload)
            assert answer.status == 200
        await asyncio_wait(server, clients)

    assert clients.failures == []
    assert clients.versions == {"1", "2"}


async def asyncio_wait(server, clients):
    import asyncio

    await asyncio.to_thread(server.wait_for, "model_swapped", new_version="v2")
    await clients.answered(200)
