"""Who may post to /reload, where no token guards it and where one does."""

import socket
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from server.http.pages import is_trusted
from server.http.peers import parsed
from tests.conftest import StartGateway
from tests.support.addresses import address_of_this_machine
from tests.support.answers import Answer
from tests.support.gateway import Client, Gateway, connected

TOKEN = "s3cret"  # noqa: S105
ALLOWED = "models.example.com, other.example.com:8443, https://only.example.com, *.apps.example.com"


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that finds nothing to load, so that whoever may reload soon gets a 404."""
    return await start_gateway()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the gateway."""
    async with connected(gateway) as client:
        yield client


async def reload(client: Client, headers: dict[str, str], query: str = "") -> Answer:
    """POST to /reload."""
    return await client.request("POST", f"/reload{query}", headers=headers)


def went_on(answer: Answer) -> bool:
    """Whether the registry was asked."""
    assert answer.status == (404 if "status" in answer.json else 403), answer.json
    return answer.status == 404


PAGES = {
    "another site's": {"Origin": "http://evil.example"},
    "another site's, of the same name by now": {
        "Origin": "http://evil.example",
        "Host": "evil.example",
    },
    "the same with a port": {"Origin": "http://evil.example:5001", "Host": "evil.example:5001"},
    "a name that begins like this machine's": {
        "Origin": "http://localhost.evil.example",
        "Host": "localhost.evil.example",
    },
    "a name that ends like an address": {
        "Origin": "http://a.127.0.0.1.example",
        "Host": "a.127.0.0.1.example",
    },
    "another server's on this machine": {
        "Origin": "http://127.0.0.1:1",
        "Host": "127.0.0.1:2",
    },
    "this address, for another name": {"Origin": "http://127.0.0.1", "Host": "evil.example"},
    "no origin to speak of": {"Origin": "null"},
    "nothing": {"Origin": ""},
    "no host": {"Origin": "http://", "Host": ""},
    "an asterisk": {"Origin": "*"},
    "one that is no address": {"Origin": "http://[::1", "Host": "[::1"},
    "another site's, as the browser says": {"Sec-Fetch-Site": "cross-site"},
    "a sister site's": {"Sec-Fetch-Site": "same-site"},
    "of the same name by now, as the browser says": {"Sec-Fetch-Site": "same-origin"},
}


@pytest.mark.parametrize("headers", PAGES.values(), ids=PAGES.keys())
async def test_a_page_that_is_not_the_server_s_own_may_not_reload(
    client: Client, headers: dict[str, str]
) -> None:
    answer = await reload(client, headers)
    assert answer.status == 403
    assert answer.json["error_code"] == "PERMISSION_DENIED"
    assert "ALLOWED_HOSTS" in answer.json["message"]
    assert "RELOAD_TOKEN" in answer.json["message"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_two_origins_are_none() -> None:
    own = [("Host", "127.0.0.1"), ("Origin", "http://127.0.0.1")]
    assert is_trusted(CIMultiDictProxy(CIMultiDict(own)), ())
    two = [*own, ("Origin", "http://evil.example")]
    assert not is_trusted(CIMultiDictProxy(CIMultiDict(two)), ())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:5001", "localhost:5001", "LOCALHOST", "[::1]:5001", "10.1.2.3", "machine"]
)
async def test_the_server_s_own_page_may_reload(client: Client, host: str) -> None:
    host = socket.gethostname() if host == "machine" else host
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert went_on(await reload(client, headers))


@pytest.mark.parametrize(
    "headers", [{}, {"Host": "models.internal"}, {"Sec-Fetch-Site": "none"}, {"X-Real-IP": "::2"}]
)
async def test_what_is_no_page_may_reload_by_any_name(
    client: Client, headers: dict[str, str]
) -> None:
    assert went_on(await reload(client, headers))


async def test_pages_of_allowed_hosts_may_reload(start_gateway: StartGateway) -> None:
    # What a proxy has made of the host.
    host = {"Host": "backend:5001"}
    allowed = [
        *("http://models.example.com", "https://Models.example.com", "https://only.example.com"),
        *("https://other.example.com:8443", "http://a.apps.example.com"),
    ]
    others = [
        *("http://models.example.com:8080", "http://only.example.com", "http://other.example.com"),
        *("http://models.example.com.evil.example", "http://apps.example.com", "null"),
        "http://evil.example",
    ]
    async with connected(await start_gateway(allowed_hosts=ALLOWED)) as client:
        answers = {one: await reload(client, host | {"Origin": one}) for one in allowed + others}
    assert [one for one in answers if went_on(answers[one])] == allowed


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"x-forwarded-host": "localhost"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_what_came_through_a_proxy_may_reload_but_not_force(
    client: Client, headers: dict[str, str]
) -> None:
    refused = await reload(client, headers, "?force=true")
    assert refused.status == 403
    assert "RELOAD_TOKEN" in refused.json["message"]
    assert went_on(await reload(client, headers))
    assert went_on(await reload(client, headers, "?force=false"))


async def test_another_machine_may_reload_but_not_force(gateway: Gateway) -> None:
    async with connected(gateway, address_of_this_machine()) as client:
        refused = await reload(client, {}, "?force=true")
        assert (refused.status, refused.json["error_code"]) == (403, "PERMISSION_DENIED")
        assert went_on(await reload(client, {}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
async def test_this_machine_may_force(gateway: Gateway, host: str) -> None:
    async with connected(gateway, host) as client:
        assert went_on(await reload(client, {}, "?force=true"))


def test_addresses_are_known_however_they_are_written() -> None:
    loopback = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"}
    others = {"10.0.0.1", "::ffff:10.0.0.1", "fd00::2", "fe80::1%eth0", "::", "192.0.2.1"}
    addresses = {text: parsed(text) for text in loopback | others}
    assert {text for text, one in addresses.items() if one and one.is_loopback} == loopback
    assert parsed("localhost") is None


async def test_with_the_token_anyone_may_do_anything(start_gateway: StartGateway) -> None:
    page = {"Origin": "http://evil.example", "X-Forwarded-For": "192.0.2.1"}
    # As it is often written into files and secrets.
    async with connected(await start_gateway(reload_token=f" {TOKEN}\n")) as client:
        for headers in (page, {}):
            assert (await reload(client, headers, "?force=true")).status == 401
            token = {"Authorization": f"Bearer {TOKEN}"}
            assert (await reload(client, headers | token, "?force=true")).status == 404
