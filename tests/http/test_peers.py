"""Who sent a request is known by the connection that it came on, whichever way it takes."""

import asyncio
from collections import Counter
from ipaddress import ip_address

import aiohttp
import pytest

from server.http.peers import client_of
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway


async def flood(client: Client, address: str, requests: int, **headers: str) -> None:
    """Post so many different requests from this address, on a few connections."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=4)
    async with aiohttp.ClientSession(client.url, connector=connector) as session:
        for number in range(requests):
            body = {"instances": [f"{address} {number}"]}
            async with session.post("/invocations", json=body, headers=headers) as answer:
                assert answer.status == 200


def recorded(gateway: Gateway) -> Counter[str]:
    """How many requests of each address would rehearse the next version."""
    assert gateway.deployment.release is not None
    kept = gateway.deployment.release.recent.snapshot()
    return Counter(str(ip_address(one.client)) for one in kept)


async def test_a_flood_by_one_client_leaves_room_for_the_requests_of_another(
    start_gateway: StartGateway, connect: Connect
) -> None:
    gateway = await start_gateway("first")
    client = await connect(gateway)
    await flood(client, "127.0.0.2", 100)
    await flood(client, "127.0.0.3", 1)
    # What it says of itself is nothing to go by.
    for number in range(40):
        await flood(client, "127.0.0.2", 2, **{"X-Forwarded-For": f"192.0.2.{number}"})
    assert recorded(gateway) == {"127.0.0.2": 31, "127.0.0.3": 1}

    await gateway.serve("second")
    # Who sent them is known on.
    assert recorded(gateway) == {"127.0.0.2": 31, "127.0.0.3": 1}
    reloaded = await client.reload()
    assert reloaded.json["answers_changed"] == "0 of 32"


class At(asyncio.BaseTransport):
    """A transport whose other end is at this address."""

    def __init__(self, address: object) -> None:
        super().__init__({"peername": address})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2), True),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 2), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::ffff:2", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
    ],
)
def test_a_client_of_ipv6_is_a_network(one: object, other: object, same: bool) -> None:
    assert (client_of(At(one)) == client_of(At(other))) is same


@pytest.mark.parametrize("nobody", [None, "", b"", ("/a/socket", 0)])
def test_whom_nobody_knows_is_nobody(nobody: object) -> None:
    assert client_of(At(nobody)) == client_of(None) == b""
