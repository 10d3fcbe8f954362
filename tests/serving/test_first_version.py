"""Before there is anything to serve, and the first version that serves."""

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST


async def reason(client: Client) -> str:
    """Why /health is 503."""
    health = await client.get("/health")
    assert health.status == 503
    assert health.json["status"] in ("unhealthy", "loading")
    assert int(health.headers["retry-after"]) > 0
    return str(health.json["reason"])


async def check_that_it_refuses(client: Client) -> None:
    """It is up and says politely that it has no model."""
    answer = await client.predict(TEXT_REQUEST)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert set(answer.json) == {"error_code", "message"}
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/ping")).status == 503
    info = await client.info()
    assert info["metadata"] is None
    assert info["status"] != "loaded"


async def test_with_an_empty_stage_it_refuses_and_serves_what_is_promoted(
    start_gateway: StartGateway, connect: Connect, log: Log
) -> None:
    gateway = await start_gateway()
    bad = gateway.add(gateway.saved.save("return []", load="raise OSError('no weights')"))
    good = gateway.add("good")
    client = await connect(gateway)
    await check_that_it_refuses(client)

    await gateway.watcher.poll()
    assert "Production" in await reason(client)
    await check_that_it_refuses(client)
    answer = await client.reload()
    assert (answer.status, answer.json["old_version"]) == (404, None)

    # A first version that will not load is the same story.
    gateway.promote(bad)
    await gateway.watcher.poll()
    assert log.find("reload_failed", failed_version=f"v{bad}", trigger="startup")
    assert "no weights" in await reason(client)
    await check_that_it_refuses(client)

    gateway.promote(good)
    await gateway.watcher.poll()
    assert log.find("model_swapped", new_version=f"v{good}", trigger="startup")
    assert (await client.predict(TEXT_REQUEST)).version == good
    assert len(log.find("version_missing")) == 1


async def test_with_the_watcher_off_it_still_finds_its_first_model(
    start_gateway: StartGateway,
    connect: Connect,
    log: Log,
    model_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("watcher.job.POLL_INTERVAL_BEFORE_FIRST_LOAD_SECONDS", 0.1)
    gateway = await start_gateway(
        model_uri=f"models:/{model_name}@production", poll_interval_seconds=0
    )
    gateway.registry.create(model_name)
    version = gateway.add("one")
    gateway.watcher.start()
    await log.wait_for("version_missing")
    gateway.registry.point(model_name, "production", version)
    await log.wait_for("model_swapped", new_version=f"v{version}", trigger="startup")
    info = await (await connect(gateway)).info()
    assert info["watcher"]["enabled"] is False
