"""ACCESS_LOG=1: one line for each request, under its id."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway that logs each request."""
    return await start_gateway("seen", access_log=True)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/invocations", TEXT_REQUEST, 200),
        ("POST", "/invocations?a=b", TEXT_REQUEST, 200),
        ("POST", "/invocations", {"nothing": "known"}, 400),
        ("GET", "/health", None, 200),
        ("GET", "/no/such/route", None, 404),
    ],
)
@pytest.mark.parametrize("sent", [{}, {"X-Request-ID": "of-the-client"}], ids=["made", "taken"])
async def test_a_request_is_logged_under_the_id_that_its_answer_has(
    client: Client, method: str, path: str, body: Any, status: int, sent: dict[str, str]
) -> None:
    with capture_logs() as logs:
        answer = await client.request(method, path, body, sent)
        assert answer.status == status

        async def lines() -> list[Any]:
            return [line for line in logs if line["event"] == "request"]

        # It may come later than the answer.
        (line,) = await eventually(lines, "its line", 10)
    assert (line["method"], line["path"]) == (method, path.partition("?")[0])
    assert line["status"] == status
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["remote"] == "127.0.0.1"
    assert line["bytes_sent"] >= len(answer.body)
    assert 0 <= line["seconds"] < 10
