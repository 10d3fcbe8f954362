"""Large answers, packed where the client asks for it."""

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from server.http.threads import in_thread
from tests.conftest import Connect, StartGateway
from tests.support.gateway import Client, Gateway, Listener
from tests.support.models import SavedModels
from tests.support.raw import RawClient
from tests.support.waiting import eventually

LARGE = {"instances": ["some text"] * 4_000}
SMALL = {"instances": ["some text"]}


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway whose answers are as large as what was asked."""
    return await start_gateway("a prediction")


async def ask(client: Client, body: object, *headers: str) -> tuple[int, dict[str, str], bytes]:
    """Post over a connection of its own, and return the answer as it was sent."""
    async with await RawClient.open(client.port) as raw:
        await raw.post(json.dumps(body).encode(), *headers)
        return await raw.whole_answer()


@pytest.mark.parametrize(
    "accepted",
    [
        "gzip",
        "gzip, deflate, br, zstd",
        "GZIP",
        "x-gzip",
        "*",
        "br, *;q=0.1",
        "gzip;q=0.001",
        "gzip; q=1.0, identity; q=0.5",
        "identity;q=0, gzip",
        "identity;q=0, *",
        "deflate\r\nAccept-Encoding: gzip",
        "gzip;q=0.5, identity;q=0.5",
    ],
)
async def test_a_large_answer_is_packed_where_it_is_asked_for(
    client: Client, accepted: str
) -> None:
    status, headers, body = await ask(client, LARGE, f"Accept-Encoding: {accepted}")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert headers["vary"] == "Accept-Encoding"
    assert headers["content-type"].startswith("application/json")
    assert headers["x-model-version"]
    assert headers["x-request-id"]
    assert len(body) < 16_000
    assert len(json.loads(gzip.decompress(body))["predictions"]) == 4_000


@pytest.mark.parametrize(
    "accepted",
    [
        None,
        "",
        "identity",
        "br",
        "deflate, br",
        "gzip;q=0",
        "gzip;q=0, *",
        "*;q=0",
        "gzip;q=0.5, identity",
        "gzip;q=none",
        "gzip;q=2",
        "gzip;q=nan",
        "notgzip, gzip2",
    ],
)
async def test_a_large_answer_is_plain_where_packing_is_not_asked_for(
    client: Client, accepted: str | None
) -> None:
    headers = [] if accepted is None else [f"Accept-Encoding: {accepted}"]
    status, said, body = await ask(client, LARGE, *headers)
    assert status == 200
    assert "content-encoding" not in said
    assert said["vary"] == "Accept-Encoding"
    assert len(json.loads(body)["predictions"]) == 4_000


async def test_a_small_answer_is_plain(client: Client) -> None:
    status, headers, body = await ask(client, SMALL, "Accept-Encoding: gzip")
    assert status == 200
    assert not {"content-encoding", "vary"} & headers.keys()
    assert json.loads(body) == {"predictions": ["a prediction"]}


async def test_other_routes_pack_as_well(
    start_gateway: StartGateway, connect: Connect, saved: SavedModels
) -> None:
    columns = [ColSpec(DataType.double, f"column {n}", required=False) for n in range(300)]
    signature = ModelSignature(inputs=Schema([*columns]))
    model = saved.save("return [1]", signature=signature, input_example=None)
    client = await connect(await start_gateway(model))
    async with await RawClient.open(client.port) as raw:
        head = "/openapi.json HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n"
        await raw.send(f"GET {head}".encode())
        status, headers, body = await raw.whole_answer()
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert headers["vary"] == "Accept-Encoding"
    described = json.loads(gzip.decompress(body))
    assert "column 299" in json.dumps(described["paths"])


async def begin_to_close(listener: Listener, asker: Client) -> "asyncio.Future[None]":
    """Close a way in as soon as a worker has given its first answer; the answer holds that up."""

    async def answered() -> bool:
        text = (await asker.get("/metrics")).body
        return b'model_server_answers_total{outcome="ok"} 1.0' in text

    await eventually(answered, "the worker has answered")
    assert listener.runner is not None
    closing = asyncio.ensure_future(listener.runner.cleanup())
    done, _ = await asyncio.wait([closing], timeout=0.2)
    assert not done
    return closing


async def test_an_answer_that_is_being_packed_is_sent_before_the_connection_is_closed(
    gateway: Gateway, way: str
) -> None:
    listener = Listener(gateway)
    test_client: TestClient[Any, Any] = TestClient(listener)
    async with test_client:
        asker = Client(test_client, gateway)
        busy = threading.Event()
        holding = [in_thread(busy.wait) for _ in range(2)]
        async with await RawClient.open(asker.port) as raw:
            await raw.post(json.dumps(LARGE).encode(), "Accept-Encoding: gzip")
            closing = await begin_to_close(listener, asker)
            busy.set()
            status, _, body = await raw.whole_answer()
            assert status == 200
            assert len(json.loads(gzip.decompress(body))["predictions"]) == 4_000
            await asyncio.gather(closing, *holding)


async def test_a_client_that_reads_slowly_gets_all_before_the_connection_is_closed(
    start_gateway: StartGateway, saved: SavedModels, way: str
) -> None:
    size = 10_000_000
    predict = f"return ['a' * {size} if text == 'large' else '' for text in model_input['text']]"
    gateway = await start_gateway(saved.save(predict))
    listener = Listener(gateway)
    test_client: TestClient[Any, Any] = TestClient(listener)
    async with test_client:
        asker = Client(test_client, gateway)
        async with await RawClient.open(asker.port) as raw:
            raw.transport.pause_reading()
            await raw.post(b'{"instances": ["large"]}')
            closing = await begin_to_close(listener, asker)
            raw.transport.resume_reading()
            status, _, body = await raw.whole_answer()
            assert (status, len(body)) == (200, size + len('{"predictions":[""]}'))
            await closing


async def test_answers_keep_their_order_while_one_is_packed(client: Client) -> None:
    async with await RawClient.open(client.port) as raw:
        for _ in range(3):
            await raw.post(json.dumps(LARGE).encode(), "Accept-Encoding: gzip", "X-Request-ID: 1")
            await raw.post(json.dumps(SMALL).encode(), "Accept-Encoding: gzip", "X-Request-ID: 2")
            await raw.send(b"GET /livez HTTP/1.1\r\nHost: test\r\nX-Request-ID: 3\r\n\r\n")
            answers = [await raw.whole_answer() for _ in range(3)]
            assert [headers["x-request-id"] for _, headers, _ in answers] == ["1", "2", "3"]
            assert [status for status, _, _ in answers] == [200, 200, 200]


async def test_a_client_that_hangs_up_while_its_answer_is_packed_harms_nobody(
    client: Client,
) -> None:
    for _ in range(10):
        async with await RawClient.open(client.port) as raw:
            await raw.post(json.dumps(LARGE).encode(), "Accept-Encoding: gzip")
            await asyncio.sleep(0)
    assert (await ask(client, LARGE, "Accept-Encoding: gzip"))[0] == 200
