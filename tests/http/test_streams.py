"""`"stream": true`: what a client reads, and when."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient
from structlog.testing import capture_logs

from server.http.clients import Limits
from tests.conftest import Connect, StartGateway
from tests.http.test_metrics import value
from tests.support.gateway import Client, Gateway, Listener
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.streams import MEDIA_TYPE, connection, events, failure, streaming
from tests.support.waiting import eventually
from tests.support.waiting_models import (
    chunk,
    none_is_open,
    save_waiting,
    state,
    told,
    told_to_stream,
)

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
async def gateway(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """A gateway of a model that streams what it is told."""
    return await start_gateway(
        save_waiting(saved, streams=True), concurrency=8, access_log=True, max_body_bytes=1_000_000
    )


@pytest.fixture(scope="module")
async def asynchronous(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """One of a model whose stream is an asynchronous generator."""
    model = save_waiting(saved, streams=True, asynchronous=True)
    return await start_gateway(model, concurrency=8)


@pytest.fixture(scope="module")
async def merging(start_gateway: StartGateway, saved: SavedModels) -> Gateway:
    """One that merges what is no stream, and lets pages of another origin ask."""
    return await start_gateway(save_waiting(saved, streams=True), cors_allowed_origins=(ORIGIN,))


@pytest.fixture(scope="module")
async def plain(start_gateway: StartGateway) -> Gateway:
    """One of a model that can't stream."""
    return await start_gateway("plain")


@pytest.fixture(params=["generator", "asynchronous generator"])
async def either(
    request: pytest.FixtureRequest, gateway: Gateway, asynchronous: Gateway, connect: Connect
) -> Client:
    """A client of each."""
    return await connect(gateway if request.param == "generator" else asynchronous)


async def test_each_chunk_is_an_event_and_done_the_last(either: Client) -> None:
    async with streaming(either.port, told_to_stream(chunks=3, echo="it")) as stream:
        assert await stream.rest() == [chunk(n, echo="it") for n in range(3)]
        assert stream.version == "1"
    await none_is_open(either)


async def test_the_request_s_id_stands_in_the_answer(client: Client) -> None:
    headers = ("X-Request-ID: of-the-client",)
    async with streaming(client.port, told_to_stream(), *headers) as stream:
        assert stream.headers["x-request-id"] == "of-the-client"
        await stream.rest()


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ["{}"], "stream": true, "stream": false}',
        b'{"instances": ["\\"stream\\": true"]}',
        b'{"instances": [{"text": "x", "stream": true}]}',
        b'{"dataframe_records": [{"text": "x", "stream": true}]}',
        rb'{"instances": ["{}"], "str\u0065am": true}',
    ],
    ids=["false at last", "in a text", "in a row", "in a record", "spelt otherwise"],
)
async def test_only_true_at_the_top_asks_for_a_stream(client: Client, body: bytes) -> None:
    answer = await client.predict(body)
    assert answer.status == 200
    assert answer.json == {"predictions": ["done"]}


async def test_an_empty_body_is_refused_as_ever(either: Client) -> None:
    answer = await either.predict(b"")
    assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")


async def test_a_table_asks_for_no_stream(client: Client) -> None:
    answer = await client.predict(b'text\n"stream"\n', {"Content-Type": "text/csv"})
    assert (answer.status, answer.json) == (200, {"predictions": ["done"]})


@pytest.mark.parametrize(
    "given",
    [
        {"instances": ["{}"]},
        {"instances": [{"text": "{}"}]},
        {"inputs": ["{}"]},
        {"inputs": {"text": ["{}"]}},
        {"dataframe_records": [{"text": "{}"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["{}"]]}},
    ],
    ids=lambda given: next(iter(given)),
)
async def test_every_form_of_a_request_can_ask_for_a_stream(client: Client, given: Any) -> None:
    async with streaming(client.port, {**given, "stream": True}) as stream:
        assert await stream.rest() == [chunk(n) for n in range(3)]


async def test_chunks_arrive_as_they_are_made(either: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    plan = told_to_stream(chunks=3, gate=str(gate), gate_at=2)
    async with streaming(either.port, plan) as stream:
        assert [await stream.event(), await stream.event()] == [chunk(0), chunk(1)]
        found = await state(either)
        assert found.open == 1
        gate.touch()
        assert await stream.rest() == [chunk(2)]


@pytest.mark.parametrize("asked", [{}, {"stream": False}], ids=["absent", "false"])
async def test_a_model_that_can_stream_answers_plainly_unless_asked(
    either: Client, asked: dict[str, bool]
) -> None:
    answer = await either.predict({**told(echo="plain"), **asked})
    assert (answer.status, answer.json) == (200, {"predictions": ["plain"]})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        ["déjà vu", "語\u2028\u2029 🦀", 'line\n\ndata: [DONE]\n\n"quoted"\r\n', "\0"],
        [None, True, 0.1, 2**53 + 1, [], {}, [[{"a": {"b": [None]}}]], "", "[DONE]"],
        [{"error": "of the model's own"}, {"predictions": [1]}],
    ],
    ids=["none", "texts", "values", "objects"],
)
async def test_chunks_are_whatever_json_the_model_makes(either: Client, chunks: list[Any]) -> None:
    async with streaming(either.port, told_to_stream(chunks=chunks)) as stream:
        assert await stream.rest() == chunks


@pytest.mark.parametrize(
    ("count", "size"), [(1, 5_000_000), (1000, 10), (20, 200_000)], ids=["huge", "many", "large"]
)
async def test_chunks_of_any_size_and_number_arrive_whole(
    client: Client, count: int, size: int
) -> None:
    async with streaming(client.port, told_to_stream(chunks=count, size=size)) as stream:
        assert await stream.rest() == [chunk(n, size=size) for n in range(count)]


async def test_an_error_before_the_first_chunk_keeps_its_status(either: Client) -> None:
    answer = await either.predict(told_to_stream(fail_at=0, **{"with": "no words"}))
    assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")
    assert "no words" in answer.json["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.version == "1"
    await none_is_open(either)


@pytest.mark.parametrize(
    "body",
    [
        {"stream": True},
        {"nothing": "known", "stream": True},
        {"instances": ["x"], "inputs": ["x"], "stream": True},
        {"dataframe_records": [{"other": "x"}], "stream": True},
    ],
)
async def test_what_no_stream_can_be_made_of_is_refused_as_ever(client: Client, body: Any) -> None:
    answer = await client.predict(body)
    plain = await client.predict({key: body[key] for key in body if key != "stream"})
    assert (answer.status, answer.json) == (plain.status, plain.json)
    assert answer.status == 400


async def test_an_error_after_a_chunk_is_the_last_event(either: Client) -> None:
    plan = told_to_stream(chunks=5, fail_at=2, **{"with": "no more words"})
    async with streaming(either.port, plan) as stream:
        *made, error = await stream.rest()
        code, message = failure(error)
        assert made == [chunk(0), chunk(1)]
        assert code == "BAD_REQUEST"
        assert "no more words" in message
        assert "Traceback" not in message
    await none_is_open(either)


async def test_an_error_after_the_last_chunk_is_told_too(either: Client) -> None:
    async with streaming(either.port, told_to_stream(chunks=1, fail_at=1)) as stream:
        assert await stream.event() == chunk(0)
        assert "as told" in failure(await stream.event())[1]
        assert await stream.rest() == []


@pytest.mark.parametrize("at", [0, 1])
async def test_a_chunk_that_is_no_json_is_the_model_s_error(either: Client, at: int) -> None:
    plan = told_to_stream(chunks=3, odd_at=at)
    if at == 0:
        answer = await either.predict(plan)
        # As an answer of which no JSON can be made.
        assert answer.status == 500
        assert answer.json.keys() == {"error_code", "message"}
    else:
        async with streaming(either.port, plan) as stream:
            first, error = await stream.rest()
            assert first == chunk(0)
            assert "JSON" in failure(error)[1]
    await none_is_open(either)


async def test_what_a_model_fails_with_is_logged_with_its_traceback(client: Client) -> None:
    with capture_logs() as logs:
        plan = told_to_stream(fail_at=1, **{"with": "for the log"})
        answer = await client.predict(plan, {"X-Request-ID": "failed-late"})
        assert failure(events(answer.body)[-1])

        async def logged() -> list[Any]:
            # The worker's own words come by its output.
            return [line for line in logs if "for the log" in str(line)]

        lines = await eventually(logged, "it is logged", 10)
    assert any("Traceback" in str(line) for line in lines)
    assert any("failed-late" in str(line) for line in lines)


async def test_a_connection_is_good_for_the_next_request(client: Client) -> None:
    async with connection(client.port) as stream:
        for _ in range(2):
            await stream.post(told_to_stream())
            await stream.begin_well()
            assert await stream.rest() == [chunk(n) for n in range(3)]
            await stream.post(told_to_stream(fail_at=1))
            await stream.begin_well()
            failure((await stream.rest())[-1])
            await stream.post(told(echo="plain"))
            await stream.begin()
            assert json.loads(await stream.body()) == {"predictions": ["plain"]}


async def test_requests_behind_a_stream_are_answered_after_it(
    client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with connection(client.port) as stream:
        await stream.post(told_to_stream(chunks=2, gate=str(gate), gate_at=1))
        await stream.post(told(echo="second"))
        await stream.post(told_to_stream(chunks=2, echo="third"))
        await stream.begin_well()
        assert await stream.event() == chunk(0)
        gate.touch()
        assert await stream.rest() == [chunk(1)]
        await stream.begin()
        assert json.loads(await stream.body()) == {"predictions": ["second"]}
        await stream.begin_well()
        assert await stream.rest() == [chunk(n, echo="third") for n in range(2)]


async def test_a_client_of_http_1_0_reads_until_the_end(client: Client) -> None:
    async with connection(client.port) as stream:
        await stream.post(told_to_stream(), version="HTTP/1.0")
        await stream.begin_well()
        assert "transfer-encoding" not in stream.headers
        assert await stream.rest() == [chunk(n) for n in range(3)]


async def test_one_who_asks_for_it_gets_the_connection_closed(client: Client) -> None:
    async with streaming(client.port, told_to_stream(), "Connection: close") as stream:
        assert await stream.rest() == [chunk(n) for n in range(3)]
        assert await stream.closed()


async def test_streams_are_not_packed(client: Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    plan = told_to_stream(chunks=2, size=10_000, gate=str(gate), gate_at=1)
    async with streaming(client.port, plan, "Accept-Encoding: gzip, br") as stream:
        assert await stream.event() == chunk(0, size=10_000)
        gate.touch()
        assert await stream.rest() == [chunk(1, size=10_000)]


async def test_packed_requests_are_streamed_too(client: Client) -> None:
    body = gzip.compress(json.dumps(told_to_stream()).encode())
    answer = await client.predict(body, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert events(answer.body) == [chunk(n) for n in range(3)]


async def test_head_streams_nothing(client: Client) -> None:
    answer = await client.request("HEAD", "/invocations", told_to_stream())
    assert (answer.status, answer.body) == (405, b"")


async def test_many_streams_at_a_time_keep_apart(client: Client) -> None:
    async def one(number: int) -> None:
        plan = told_to_stream(chunks=20, echo=number, sleep=0.002)
        async with streaming(client.port, plan) as stream:
            assert await stream.rest() == [chunk(n, echo=number) for n in range(20)]

    await asyncio.gather(*(one(number) for number in range(32)))
    await none_is_open(client)


async def test_streams_and_merged_requests_keep_apart(merging: Gateway, connect: Connect) -> None:
    client = await connect(merging)
    assert (await client.info())["batching"]["merging"] is True

    async def plain(number: int) -> None:
        answer = await client.predict(told(echo=number))
        assert (answer.status, answer.json) == (200, {"predictions": [number]})

    async def stream(number: int) -> None:
        async with streaming(client.port, told_to_stream(chunks=3, echo=number)) as stream:
            assert await stream.rest() == [chunk(n, echo=number) for n in range(3)]

    await asyncio.gather(*(stream(n) if n % 4 == 0 else plain(n) for n in range(64)))


async def test_pages_of_other_origins_may_read_streams_where_that_was_set(
    merging: Gateway, connect: Connect
) -> None:
    client = await connect(merging)
    async with streaming(client.port, told_to_stream(), f"Origin: {ORIGIN}") as stream:
        assert stream.headers["access-control-allow-origin"] == ORIGIN
        assert await stream.rest() == [chunk(n) for n in range(3)]


async def test_a_model_that_can_not_stream_says_so(plain: Gateway, connect: Connect) -> None:
    client = await connect(plain)
    assert (await client.info())["concurrency"]["streams"] is False
    answer = await client.predict({**TEXT_REQUEST, "stream": True})
    assert (answer.status, answer.json["error_code"]) == (400, "BAD_REQUEST")
    assert "stream" in answer.json["message"]
    answer = await client.predict({**TEXT_REQUEST, "stream": False})
    assert (answer.status, answer.json) == (200, {"predictions": ["plain"]})


async def test_info_says_that_a_model_streams(either: Client) -> None:
    assert (await either.info())["concurrency"]["streams"] is True


async def test_a_stream_has_one_line_in_the_log(client: Client) -> None:
    with capture_logs() as logs:
        async with streaming(client.port, told_to_stream(sleep=0.05)) as stream:
            await stream.rest()

        async def lines() -> list[Any]:
            return [line for line in logs if line["event"] == "request"]

        (line,) = await eventually(lines, "its line", 10)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/invocations", 200)
    assert line["request_id"] == stream.headers["x-request-id"]
    assert line["bytes_sent"] > 3 * len(json.dumps(chunk(0)))
    assert line["seconds"] >= 0.15


async def test_streams_are_counted_by_how_they_ended(client: Client) -> None:
    async def counts() -> dict[str, float]:
        return {
            outcome: await value(client, "model_server_answers_total", outcome=outcome)
            for outcome in ("ok", "invalid_input", "model_error")
        }

    before = await counts()
    plans: list[dict[str, Any]] = [{}, {"chunks": []}, {"fail_at": 0}, {"fail_at": 1}]
    for plan in plans:
        await client.predict(told_to_stream(**plan))
    await client.predict({"nothing": "known", "stream": True})
    after = await counts()
    assert {name: after[name] - before[name] for name in before} == {
        "ok": 2,
        "invalid_input": 1,
        "model_error": 2,
    }


async def test_a_client_that_leaves_ends_its_stream(either: Client) -> None:
    before = await none_is_open(either)
    async with streaming(either.port, told_to_stream(chunks=1000, sleep=0.01)) as stream:
        assert [await stream.event(), await stream.event()] == [chunk(0), chunk(1)]
    after = await none_is_open(either)
    assert after.closed - before.closed == 1
    assert after.made - before.made < 100


async def test_a_client_that_reads_nothing_for_long_is_hung_up_on(
    gateway: Gateway, aiohttp_client: AiohttpClient
) -> None:
    listener = Listener(gateway, limits=Limits(connections=10, write_seconds=0.5))
    client = Client(await aiohttp_client(listener), gateway)
    before = await none_is_open(client)
    async with streaming(client.port, told_to_stream(chunks=100_000, size=100_000)):
        after = await none_is_open(client)
    assert after.closed - before.closed == 1
    ended = await value(client, "model_server_connections_ended_total", reason="unread")
    assert ended == 1
