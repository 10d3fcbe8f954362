"""The spellings of a path that a route answers under."""

from urllib.parse import urlsplit

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST
from tests.support.raw import RawClient

ROUTES = ["/health", "/ping", "/version", "/livez", "/info", "/metrics", "/openapi.json"]


@pytest.fixture(scope="module")
async def behind_proxy(start_gateway: StartGateway) -> Gateway:
    """A gateway behind a proxy that keeps its prefix."""
    return await start_gateway("prefixed", root_path="/models/demo/")


@pytest.mark.parametrize("path", ROUTES)
async def test_a_slash_at_the_end_changes_nothing(client: Client, path: str) -> None:
    plain, slashed = await client.get(path), await client.get(f"{path}/")
    assert (slashed.status, slashed.headers["content-type"]) == (200, plain.headers["content-type"])
    assert (await client.get(f"{path}/?a=b")).status == 200
    assert (await client.request("HEAD", f"{path}/")).status == 200


async def test_a_prediction_is_posted_with_or_without_a_slash(client: Client) -> None:
    for path in ("/invocations", "/invocations/", "/invocations/?a=b"):
        answer = await client.request("POST", path, TEXT_REQUEST)
        assert (answer.status, answer.json) == (200, {"predictions": ["stable"]})
        assert answer.version is not None


async def test_a_reload_is_posted_with_or_without_a_slash(client: Client) -> None:
    assert (await client.request("POST", "/reload/")).json["status"] == "success"


async def test_a_wrong_method_is_refused_with_a_slash_as_well(client: Client) -> None:
    answer = await client.get("/invocations/")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["//", "/invocations/more/", "/health//more"])
async def test_a_slash_makes_no_route(client: Client, path: str) -> None:
    async with await RawClient.open(client.port) as raw:
        await raw.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        assert (await raw.answer())[0] == 404


@pytest.mark.parametrize("prefix", ["", "/models/demo"])
async def test_routes_answer_under_the_prefix_and_without(
    behind_proxy: Gateway, connect: Connect, prefix: str
) -> None:
    client = await connect(behind_proxy)
    for path in ROUTES:
        assert (await client.get(prefix + path)).status == 200
        assert (await client.get(f"{prefix}{path}/")).status == 200
    for path in ("/invocations", "/invocations/"):
        answer = await client.request("POST", prefix + path, TEXT_REQUEST)
        assert (answer.status, answer.json) == (200, {"predictions": ["prefixed"]})
    assert (await client.request("POST", f"{prefix}/reload")).status == 200


@pytest.mark.parametrize(
    "path", ["/models/demo2/health", "/models/health", "/demo/health", "/models/demohealth"]
)
async def test_other_prefixes_are_not_known(
    behind_proxy: Gateway, connect: Connect, path: str
) -> None:
    client = await connect(behind_proxy)
    assert (await client.get(path)).status == 404


async def test_the_description_names_the_prefix(
    behind_proxy: Gateway, connect: Connect, client: Client
) -> None:
    described = (await (await connect(behind_proxy)).get("/models/demo/openapi.json")).json
    assert described["servers"] == [{"url": "/models/demo"}]
    assert "servers" not in (await client.get("/openapi.json")).json
    path = urlsplit(described["servers"][0]["url"]).path + next(iter(described["paths"]))
    answer = await (await connect(behind_proxy)).request("POST", path, {})
    assert answer.status == 400
