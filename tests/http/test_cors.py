"""Pages of other origins: what their browsers ask, and what they are told."""

import json

import pytest

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST
from tests.support.raw import RawClient

PAGE = "https://app.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-request-id",
}


@pytest.fixture(scope="module")
async def for_pages(start_gateway: StartGateway) -> Gateway:
    """A gateway that two origins may ask."""
    return await start_gateway(
        "fine", cors_allowed_origins=f"{PAGE}/, http://localhost:3000", max_body_bytes=10_000
    )


@pytest.fixture(scope="module")
async def for_all(start_gateway: StartGateway) -> Gateway:
    """A gateway that every page may ask."""
    return await start_gateway("fine", cors_allowed_origins="*", root_path="/prefix")


@pytest.fixture
async def pages(for_pages: Gateway, connect: Connect) -> Client:
    """A client of the gateway that two origins may ask."""
    return await connect(for_pages)


@pytest.fixture
async def anyone(for_all: Gateway, connect: Connect) -> Client:
    """A client of the gateway that every page may ask."""
    return await connect(for_all)


@pytest.mark.parametrize("origin", [PAGE, "http://localhost:3000"])
async def test_an_allowed_page_reads_a_prediction(pages: Client, origin: str) -> None:
    answer = await pages.predict(TEXT_REQUEST, {"Origin": origin})
    assert (answer.status, answer.json) == (200, {"predictions": ["fine"]})
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-expose-headers"] == "X-Model-Version, X-Request-ID"
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/invocations", b"{", 400),
        ("POST", "/invocations", b" " * 20_000, 413),
        ("GET", "/no/such/route", None, 404),
        ("GET", "/invocations", None, 405),
        ("GET", "/info", None, 200),
        ("GET", "/health/", None, 200),
        ("GET", "/metrics", None, 200),
        ("GET", "/openapi.json", None, 200),
    ],
)
async def test_an_allowed_page_reads_every_answer_errors_too(
    pages: Client, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = await pages.request(method, path, body, {"Origin": PAGE})
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "origin",
    [
        "https://other.example.com",
        "http://app.example.com",
        f"{PAGE}:8443",
        f"{PAGE}.evil.com",
        "null",
        "*",
        f"{PAGE}, http://localhost:3000",
        "",
    ],
)
async def test_another_page_reads_nothing(pages: Client, origin: str) -> None:
    for answer in (
        await pages.predict(TEXT_REQUEST, {"Origin": origin}),
        await pages.request("OPTIONS", "/invocations", headers={**PREFLIGHT, "Origin": origin}),
    ):
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/invocations", "/invocations/"])
async def test_a_preflight_is_answered(pages: Client, path: str) -> None:
    answer = await pages.request("OPTIONS", path, headers=PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "content-type,x-request-id"
    assert int(answer.headers["access-control-max-age"]) > 0


async def test_a_preflight_of_a_route_to_read_is_answered(pages: Client) -> None:
    headers = {**PREFLIGHT, "Access-Control-Request-Method": "GET"}
    answer = await pages.request("OPTIONS", "/info", headers=headers)
    assert answer.status == 204
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"


async def test_options_that_are_no_preflight_are_refused_as_ever(pages: Client) -> None:
    assert (await pages.request("OPTIONS", "/invocations")).status == 405
    answer = await pages.request("OPTIONS", "/no/such/route", headers=PREFLIGHT)
    assert answer.status == 404


@pytest.mark.parametrize("path", ["/reload", "/reload/", "/prefix/reload", "/prefix/reload/"])
async def test_no_page_gets_to_reload(anyone: Client, path: str) -> None:
    preflight = await anyone.request("OPTIONS", path, headers=PREFLIGHT)
    assert preflight.status == 405
    post = await anyone.request("POST", path, headers={"Origin": PAGE})
    assert post.status == 403
    for answer in (preflight, post):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_page_is_allowed_by_a_star(anyone: Client) -> None:
    for path in ("/invocations", "/prefix/invocations"):
        answer = await anyone.request("POST", path, TEXT_REQUEST, {"Origin": "null"})
        assert answer.json == {"predictions": ["fine"]}
        assert answer.headers["access-control-allow-origin"] == "*"
        # Without an origin there would be no such header.
        assert answer.headers["vary"] == "Origin"


async def test_nothing_is_said_unless_it_was_asked_for(client: Client, pages: Client) -> None:
    for answer in (
        await client.predict(TEXT_REQUEST, {"Origin": PAGE}),
        await client.get("/info", {"Origin": PAGE}),
        await pages.predict(TEXT_REQUEST),
    ):
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (await client.request("OPTIONS", "/invocations", headers=PREFLIGHT)).status == 405


async def test_requests_with_and_without_an_origin_share_a_connection(pages: Client) -> None:
    body = json.dumps(TEXT_REQUEST).encode()
    async with await RawClient.open(pages.port) as raw:
        for headers in ((), (f"Origin: {PAGE}",), ()):
            await raw.post(body, *headers)
            status, said, _ = await raw.whole_answer()
            assert status == 200
            assert ("access-control-allow-origin" in said) == bool(headers)
