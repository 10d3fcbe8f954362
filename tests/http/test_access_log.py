"""ACCESS_LOG=1: one line for each request, under its id."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Server]:
    """A server that logs each request."""
    registry.create("access-log")
    registry.promote("access-log", registry.add("access-log", saved.saying("seen")))
    server = Server(
        tmp_path_factory.mktemp("access-log"),
        MODEL_URI="models:/access-log/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        ACCESS_LOG="1",
    )
    server.wait_healthy()
    # Its line may come later than the answer.
    server.wait_for("request", path="/health", status=200)
    yield server
    server.close()


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
def test_a_request_is_logged_under_the_id_that_its_answer_has(
    server: Server, method: str, path: str, body: Any, status: int, sent: dict[str, str]
) -> None:
    mark = server.mark()
    answer = server.request(method, path, body, sent)
    assert answer.status == status
    line = server.wait_for("request", since=mark, seconds=10, path=path.partition("?")[0])
    assert (line["method"], line["status"]) == (method, status)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["remote"] == "127.0.0.1"
    assert line["bytes_sent"] >= len(answer.body)
    assert 0 <= line["seconds"] < 10
    assert len(server.find("request", mark, path=path.partition("?")[0], method=method)) == 1
