"""Every route as its users know it: paths, statuses, headers, names of fields."""

import importlib.metadata
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST
from tests.support.raw import RawClient

MLFLOW_VERSION = importlib.metadata.version("mlflow")


@pytest.mark.parametrize("path", ["/health", "/ping"])
async def test_health_says_what_is_served(client: Client, gateway: Gateway, path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json == {
        "status": "healthy",
        "model_name": gateway.name,
        "model_uri": f"models:/{gateway.name}/Production",
    }


async def test_livez_is_good_while_the_event_loop_turns(client: Client) -> None:
    assert (await client.get("/livez")).status == 200


async def test_version_is_mlflows_as_text(client: Client) -> None:
    answer = await client.get("/version")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.decode() == MLFLOW_VERSION


async def test_info_describes_the_version_that_serves(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway("first", poll_interval_seconds=7)
    run_id = gateway.registry.new_run()
    version = gateway.registry.add(gateway.name, gateway.saved.saying("any"), run_id)
    gateway.promote(version)
    await gateway.watcher.poll()
    info = await (await connect(gateway)).info()

    assert info["model_name"] == gateway.name
    assert info["model_uri"] == f"models:/{gateway.name}/Production"
    assert info["status"] == "loaded"
    metadata = info["metadata"]
    loaded_at = datetime.fromisoformat(metadata["loaded_at"])
    assert abs((datetime.now(UTC) - loaded_at).total_seconds()) < 600
    expected = {
        "model_name": gateway.name,
        "version": version,
        "stage": "Production",
        "run_id": run_id,
        "status": "READY",
    }
    assert {key: metadata[key] for key in expected} == expected
    assert version.isdigit()

    assert [set(worker) for worker in info["workers"]] == [{"pid", "state"}]
    assert info["workers"][0]["state"] in ("idle", "busy")
    assert info["watcher"]["interval_seconds"] == 7
    assert info["watcher"]["last_outcome"] == "moved"
    assert datetime.fromisoformat(info["watcher"]["last_poll"]) > datetime(2020, 1, 1, tzinfo=UTC)
    last = info["last_reload"]
    assert (last["trigger"], last["outcome"], last["error"]) == ("watcher", "swapped", None)
    assert json.loads(info["signature"]["inputs"])[0]["name"] == "text"


async def test_reload_tells_that_the_version_is_the_same(client: Client, gateway: Gateway) -> None:
    version = (await client.info())["metadata"]["version"]
    answer = await client.reload()
    assert answer.status == 200
    message = answer.json["message"]
    assert message.startswith(f"Model '{gateway.name}' reloaded successfully")
    assert "version unchanged" in message
    expected = {
        "status": "success",
        "message": message,
        "model_uri": f"models:/{gateway.name}/Production",
        "old_version": f"v{version}",
        "new_version": f"v{version}",
        "version_changed": False,
    }
    assert {key: answer.json[key] for key in expected} == expected


async def test_reload_answers_404_where_the_registry_names_no_version(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway("last")
    client = await connect(gateway)
    version = (await client.predict(TEXT_REQUEST)).version
    assert version is not None
    gateway.registry.archive(gateway.name, version)
    answer = await client.reload()
    assert answer.status == 404
    message = answer.json["message"]
    assert "Production" in message
    assert answer.json == {
        "status": "error",
        "message": message,
        "model_uri": f"models:/{gateway.name}/Production",
        "old_version": f"v{version}",
        "version_changed": False,
    }
    assert (await client.predict(TEXT_REQUEST)).version == version


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["some text"]},
        {"instances": [{"text": "some text"}]},
        {"inputs": ["some text"]},
        {"inputs": [{"text": "some text"}]},
        {"inputs": {"text": ["some text"]}},
        {"dataframe_records": [{"text": "some text"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["some text"]]}},
    ],
    ids=lambda body: f"{next(iter(body))}-{type(next(iter(body.values()))).__name__}",
)
async def test_invocations_takes_every_form_of_input(client: Client, body: Any) -> None:
    answer = await client.predict(body)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.version == (await client.info())["metadata"]["version"]
    assert answer.json == {"predictions": ["stable"]}


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"{", {}),
        (400, b"\xff", {}),
        (400, b"[]", {}),
        (400, {"nothing": "known"}, {}),
        (400, {"dataframe_records": [{"another": "column"}]}, {}),
        (413, b" " * 1_000_001, {}),
        (415, b"text", {"Content-Type": "text/plain"}),
    ],
    ids=["json", "utf-8", "top level", "format", "columns", "size", "type"],
)
async def test_invocations_refuses_what_it_can_not_read(
    client: Client, status: int, body: Any, headers: dict[str, str]
) -> None:
    answer = await client.predict(body, headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json) == {"error_code", "message"}
    assert answer.json["message"]
    assert "Traceback" not in answer.json["message"]
    assert answer.headers["x-request-id"]


async def test_what_is_not_there_is_said_in_json(client: Client) -> None:
    answer = await client.get("/no/such/route")
    assert answer.status == 404
    assert set(answer.json) == {"error_code", "message"}
    assert "/no/such/route" in answer.json["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/invocations", "POST"),
        ("GET", "/reload", "POST"),
        ("POST", "/health", "GET"),
        ("DELETE", "/info", "GET"),
    ],
)
async def test_a_wrong_method_is_said_in_json(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status == 405
    assert answer.json["error_code"] == "METHOD_NOT_ALLOWED"
    assert allowed in answer.headers["allow"]
    assert allowed in answer.json["message"]


@pytest.mark.parametrize("path", ["/health", "/livez", "/no/such/route", "/invocations"])
async def test_the_request_id_is_taken_or_made(client: Client, path: str) -> None:
    async def request(headers: dict[str, str]) -> str:
        if path == "/invocations":
            return (await client.predict(TEXT_REQUEST, headers)).headers["x-request-id"]
        return (await client.get(path, headers)).headers["x-request-id"]

    assert await request({"X-Request-ID": "of-the-client:1"}) == "of-the-client:1"
    first, second = await request({}), await request({})
    assert first
    assert first != second
    # What could break a line of the log, or a terminal, is replaced.
    unusable = {"X-Request-ID": 'x"\t; rm -rf'}
    assert await request(unusable) not in ("", unusable["X-Request-ID"])


async def test_a_connection_is_kept_for_the_next_request(client: Client) -> None:
    async with await RawClient.open(client.port) as raw:
        for _ in range(3):
            await raw.post(json.dumps(TEXT_REQUEST).encode())
            assert await raw.answer() == (200, b'{"predictions":["stable"]}')
            await raw.send(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            assert (await raw.answer())[0] == 200
