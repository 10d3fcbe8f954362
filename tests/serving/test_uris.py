"""The forms of MODEL_URI that name a registered model, asked of a real registry and served."""

import os

from tests.conftest import Connect, StartGateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry


async def test_latest_follows_the_highest_version_of_any_stage(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    gateway = await start_gateway(model_uri=f"models:/{model_name}/latest")
    await gateway.watcher.poll()
    assert log.find("model_swapped", new_version="v1", trigger="startup")
    registry.add(model_name, saved.saying("two"))
    await gateway.watcher.poll()
    assert log.find("model_swapped", new_version="v2", trigger="watcher")
    client = await connect(gateway)
    assert (await client.predict(TEXT_REQUEST)).json == {"predictions": ["two"]}


async def test_a_number_stays_where_it_is(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
) -> None:
    registry.create(model_name)
    registry.add(model_name, saved.saying("one"))
    registry.promote(model_name, registry.add(model_name, saved.saying("two")))
    gateway = await start_gateway(model_uri=f"models:/{model_name}/1")
    for _ in range(2):
        await gateway.watcher.poll()
    client = await connect(gateway)
    assert (await client.predict(TEXT_REQUEST)).version == "1"
    info = await client.info()
    assert info["metadata"]["version"] == "1"
    assert info["watcher"]["last_outcome"] == "unchanged"
    assert log.find("version_moved") == []


async def test_a_name_with_spaces_and_dots_is_served(
    registry: Registry, saved: SavedModels, start_gateway: StartGateway, connect: Connect
) -> None:
    name = f"sentiment analysis 1.0 {os.getpid()}"
    registry.create(name)
    registry.point(name, "live", registry.add(name, saved.saying("one")))
    gateway = await start_gateway(model_uri=f"models:/{name}@live")
    await gateway.watcher.poll()
    health = await (await connect(gateway)).get("/health")
    assert (health.status, health.json["model_name"]) == (200, name)
