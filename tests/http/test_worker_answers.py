"""What a worker answers reaches the caller as one answer, or not at all."""

import json

import pytest
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS

from server.processes.answers import STATUSES
from server.serving.swaps import Trigger
from server.worker.frames import Answer, Outcome
from tests.conftest import StartGateway
from tests.support.gateway import Client, Gateway
from tests.support.log import Log
from tests.support.models import TEXT_REQUEST
from tests.support.puppet import answer, save_puppet, told_to_answer
from tests.support.raw import RawClient

SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!"


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway whose model writes to it what it is told to."""
    gateway = await start_gateway("first")
    await gateway.serve(save_puppet(gateway.saved, tmp_path_factory.mktemp("plan") / "none"))
    return gateway


def test_the_statuses_are_those_of_mlflow() -> None:
    assert {200, 415, *ERROR_CODE_TO_HTTP_STATUS.values()} == STATUSES


@pytest.mark.parametrize("status", [0, 100, 101, 199, 204, 205, 302, 304, 422, 599, 65535])
async def test_a_status_that_no_answer_has_becomes_a_500(
    client: Client, gateway: Gateway, log: Log, status: int
) -> None:
    async with await RawClient.open(client.port) as raw:
        await raw.post(json.dumps(told_to_answer(answer(status, SMUGGLED))).encode())
        got, headers, body = await raw.whole_answer()
        assert (got, json.loads(body)["error_code"]) == (500, "INTERNAL_ERROR")
        assert headers["x-model-version"] == "2"
        # What follows on the connection is the answer to what was asked next.
        await raw.post(json.dumps(TEXT_REQUEST).encode())
        assert json.loads((await raw.answer())[1]) == {"predictions": ["done"]}
    assert log.find("worker_exited") == []
    # Once for each worker.
    assert len(log.find("answer_refused")) <= 1


async def test_an_error_that_is_longer_than_any_becomes_a_500(client: Client) -> None:
    long = told_to_answer(answer(400, b'{"error_code": "%b"}' % (b"x" * 100_000)))
    answered = await client.predict(long)
    assert (answered.status, answered.json["error_code"]) == (500, "INTERNAL_ERROR")
    assert len(answered.body) < 1000


async def test_it_is_told_of_once(gateway: Gateway, log: Log) -> None:
    await gateway.deployment.reload(Trigger.MANUAL)
    for _ in range(3):
        body = json.dumps(told_to_answer(answer(204, SMUGGLED))).encode()
        assert gateway.deployment.release is not None
        got, _ = await gateway.deployment.release.submit(b"application/json", b"id", body)
        assert isinstance(got, Answer)
        assert (got.status, got.outcome) == (500, Outcome.INTERNAL_ERROR)
    (told,) = log.find("answer_refused")
    assert (told["status"], told["version"]) == (204, "v2")
    assert told["log_level"] == "error"


@pytest.mark.parametrize("status", sorted(STATUSES))
async def test_a_status_of_mlflow_s_is_passed_on(client: Client, status: int) -> None:
    answered = await client.predict(told_to_answer(answer(status, b'{"said": 1}')))
    assert (answered.status, answered.json) == (status, {"said": 1})
