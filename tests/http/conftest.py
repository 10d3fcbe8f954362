"""Whatever asks over HTTP in the tests' event loop does so both ways that a prediction can take."""

import pytest

from server.http import runner
from tests.conftest import Connect


@pytest.fixture(params=["short", "ordinary"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The short way, and the one that is left where aiohttp is not as that has it."""
    name: str = request.param
    if name == "ordinary":

        async def unavailable() -> str:
            return "the tests have it so"

        monkeypatch.setattr(runner, "short_way_problem", unavailable)
    return name


@pytest.fixture
def connect(connect: Connect, way: str) -> Connect:
    """Opens ways in to gateways, and closes them after the test."""
    return connect
