"""A gateway that the tests of a module of batching share."""

from typing import Any, Protocol

import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway


class Serve(Protocol):
    """Saves a model, has the gateway serve it, and returns what /info says of batching."""

    async def __call__(self, predict: str, **options: Any) -> dict[str, Any]: ...


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that rehearses nothing from the test before."""
    return await start_gateway("first", rehearsal_requests=0)


@pytest.fixture
def serve(client: Client) -> Serve:
    """Saves models and has the gateway serve them."""

    async def serve(predict: str, **options: Any) -> dict[str, Any]:
        await client.gateway.serve(client.gateway.saved.save(predict, **options))
        batching: dict[str, Any] = (await client.info())["batching"]
        return batching

    return serve
