"""What a model raises as `MlflowException` reaches the client with the status that MLflow gives
it."""

import asyncio
import http.client
import json

import pytest

from tests.conftest import StartGateway
from tests.http.test_metrics import value
from tests.support.gateway import Client, Gateway
from tests.support.models import SavedModels

_RAISES = """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    for text in model_input["text"]:
        if text in ErrorCode.keys():
            raise MlflowException("as told", error_code=ErrorCode.Value(text))
    return ["fine"] * len(model_input)
"""


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway of a model that raises what it is told to."""
    return await start_gateway(saved.save(_RAISES))


def _chunked(port: int, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Post in a way that goes through aiohttp's routing."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    connection.request("POST", "/invocations", iter([body]), headers, encode_chunked=True)
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_PARAMETER_VALUE", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_DOES_NOT_EXIST", 404),
        ("REQUEST_LIMIT_EXCEEDED", 429),
        ("CANCELLED", 499),
        ("INTERNAL_ERROR", 500),
        ("TEMPORARILY_UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
    ],
)
async def test_the_client_gets_its_code_and_status(client: Client, code: str, status: int) -> None:
    document = {"instances": [code]}
    expected = {"error_code": code, "message": "as told"}

    answer = await client.predict(document)
    assert (answer.status, answer.json) == (status, expected)
    # It is the model that says so, and not this server: only that knows when to try again.
    assert answer.version == "1"
    assert "retry-after" not in answer.headers

    other = await asyncio.to_thread(_chunked, client.port, json.dumps(document).encode())
    other_status, headers, body = other
    assert (other_status, json.loads(body)) == (status, expected)
    assert headers["X-Model-Version"] == "1"
    assert "Retry-After" not in headers


async def test_it_counts_as_the_model_s_error_and_as_no_refusal(client: Client) -> None:
    async def counts() -> list[float]:
        return [
            await value(client, "model_server_answers_total", outcome="model_error"),
            await value(client, "model_server_refused_total", reason="NotServing"),
            await value(client, "model_server_refused_total", reason="QueueFull"),
            await value(client, "model_server_refused_total", reason="PredictionTimeout"),
        ]

    before = await counts()
    for code in ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"):
        await client.predict({"instances": [code]})
    assert await counts() == [before[0] + 3, *before[1:]]
    assert (await client.get("/health")).status == 200
    # Nothing of it is remembered as answered well, to hold the next version to.
    assert (await client.reload()).status == 200
