"""What a hostile or broken client can send, and that the next client does not notice."""

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.models import SavedModels
from tests.support.raw_client import Client
from tests.support.registry import Registry
from tests.support.server import Server
from tests.support.waiting import wait_until

BODY_LIMIT = 4_000_000
TIMEOUT = 2.0

GOOD = json.dumps({"instances": ["some text"]}).encode()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Server]:
    """A server with a small body limit and little patience."""
    registry.create("hostile")
    registry.promote("hostile", registry.add("hostile", saved.saying("fine")))
    server = Server(
        tmp_path_factory.mktemp("hostile"),
        MODEL_URI="models:/hostile/Production",
        MLFLOW_TRACKING_URI=registry.uri,
        MAX_BODY_BYTES=str(BODY_LIMIT),
        REQUEST_TIMEOUT_SECONDS=str(TIMEOUT),
        MAX_CONNECTIONS="50",
    )
    server.wait_healthy()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def next_client_is_served(server: Server) -> Iterator[None]:
    """After each test: the same worker answers the next client at once, and memory is bounded."""
    pids = server.worker_pids()
    processes = [psutil.Process(pid) for pid in (server.pid, *pids)]
    before = [process.memory_info().rss for process in processes]
    yield
    started = time.monotonic()
    assert server.predict({"instances": ["some text"]}).json == {"predictions": ["fine"]}
    assert time.monotonic() - started < 1.0
    assert server.worker_pids() == pids
    for process, memory in zip(processes, before, strict=True):
        assert process.memory_info().rss - memory < 60_000_000


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A connection to the server."""
    with Client(server) as client:
        yield client


def assert_refused(answer: tuple[int, bytes], status: int) -> None:
    """The answer has this status and the shape of every error."""
    assert answer[0] == status
    assert json.loads(answer[1]).keys() == {"error_code", "message"}


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: Client) -> None:
    client.post(b"", length=200_000_000)
    assert_refused(client.answer(), 413)


def test_a_body_of_200_megabytes_is_refused_and_not_kept(client: Client) -> None:
    client.post(b"", length=200_000_000)
    for _ in range(200):
        client.send(b" " * 1_000_000)
    assert_refused(client.answer(), 413)


def test_a_chunked_body_over_the_limit_is_refused_as_soon_as_it_is_over(client: Client) -> None:
    client.send(
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/json\r\n\r\n"
    )
    chunk = b"%x\r\n%b\r\n" % (1_000_000, b" " * 1_000_000)
    for _ in range(6):
        client.send(chunk)
    assert_refused(client.answer(), 413)


@pytest.mark.faults
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_unpacks_to_ten_gigabytes_is_refused(client: Client, encoding: str) -> None:
    packer = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    first = packer.compress(b"[") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, the same packed block unpacks to the same again, however often it comes.
    block = packer.compress(b"[" * 50_000_000) + packer.flush(zlib.Z_FULL_FLUSH)
    client.post(first + block * 200, f"Content-Encoding: {encoding}")
    assert_refused(client.answer(), 413)


def test_a_packed_body_within_the_limit_is_answered(client: Client) -> None:
    client.post(gzip.compress(GOOD), "Content-Encoding: gzip")
    assert client.answer() == (200, b'{"predictions":["fine"]}')


def test_a_body_that_is_not_what_its_encoding_says_is_refused(client: Client) -> None:
    client.post(GOOD, "Content-Encoding: gzip")
    status, _ = client.answer()
    assert status == 400


def test_a_body_cut_short_is_given_up(server: Server, client: Client) -> None:
    mark = server.mark()
    client.post(GOOD, length=len(GOOD) + 10)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.answer()[0] in (0, 400)
    with Client(server) as another:
        another.send(b"this is not HTTP\r\n\r\n")
        server.wait_for("request_malformed", since=mark)
    # Anyone can do that; it is no fault of the server.
    assert [e for e in server.events[mark:] if e["level"] == "error"] == []


@pytest.mark.faults
def test_a_body_that_never_arrives_is_given_up(client: Client) -> None:
    client.post(b"", length=1000)
    started = time.monotonic()
    assert_refused(client.answer(), 408)
    assert time.monotonic() - started < TIMEOUT + 3
    assert client.closed()


def test_a_client_that_sends_a_byte_a_time_is_given_up(client: Client) -> None:
    client.post(b"", length=100_000)
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.1):
            client.send(b" ")

    sender = threading.Thread(target=trickle)
    sender.start()
    try:
        assert_refused(client.answer(), 408)
    finally:
        done.set()
        sender.join()


def post_in_two_pieces(server: Server, client: Client) -> None:
    """Have a request answered whose head arrives in pieces."""
    client.send(b"POST /invocations HTTP/1.1\r\nHost: test\r\n")
    # As soon as this one is answered, the server has read the piece.
    assert server.predict({"instances": ["some text"]}).status == 200
    client.send(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)
    assert client.answer()[0] == 200


def test_a_head_that_never_arrives_whole_is_given_up(server: Server, client: Client) -> None:
    with Client(server) as idle:
        post_in_two_pieces(server, idle)
        done = threading.Event()
        started = time.monotonic()

        def trickle() -> None:
            client.send(b"POST /invocations HTTP/1.1\r\nHost: ")
            while not done.wait(0.1):
                client.send(b"t")

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            assert client.answer()[0] in (0, 408)
        finally:
            done.set()
            sender.join()
        assert TIMEOUT - 1 < time.monotonic() - started < TIMEOUT + 3
        # One whose first head came in pieces, but came, may be idle for longer.
        idle.post(GOOD)
        assert idle.answer()[0] == 200


def test_a_longer_body_than_said_does_not_become_the_next_answer(client: Client) -> None:
    client.post(GOOD + b"garbage\r\n\r\n", length=len(GOOD))
    answers = [client.answer()[0], client.answer()[0]]
    # What arrives in one piece is refused as a whole.
    assert answers in ([200, 400], [200, 0], [400, 0])


@pytest.mark.parametrize(
    "request_head",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: -5\r\n\r\n",
        (
            b"POST /invocations HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        b"POST /invocations HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: test\r\n"
        + b"".join(b"X-%d: y\r\n" % n for n in range(500))
        + b"\r\n",
    ],
    ids=["garbage", "tls", "negative length", "two lengths", "long header", "many headers"],
)
def test_what_is_not_http_is_refused_in_json(client: Client, request_head: bytes) -> None:
    client.send(request_head)
    assert_refused(client.answer(), 400)
    assert client.closed()


def test_more_connections_than_allowed_are_refused_in_json(server: Server) -> None:
    clients = [Client(server) for _ in range(49)]
    try:
        for client in clients:
            client.post(GOOD)
        statuses = [client.answer()[0] for client in clients]
        assert 200 in statuses
        extra = [Client(server) for _ in range(5)]
        clients += extra
        answers = [client.answer() for client in extra[-3:]]
        for answer in answers:
            assert_refused(answer, 503)
    finally:
        for client in clients:
            client.socket.close()
    wait_until(lambda: server.get("/health").status == 200, "there is room again")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"instances": [' + b"1" * 1_000_000 + b"]}",
        b'{"instances": ["\\ud800"]}',
        b'{"instances": ["\xff\xfe"]}',
        b'{"instances": ["a\x00b"]}',
        b'{"instances": ["a\\u0000b"]}',
        b"",
        b"null",
        b'"text"',
        b"\xef\xbb\xbf" + b'{"instances": }',
    ],
    ids=[
        "deep",
        "deep and closed",
        "a million digits",
        "lone surrogate",
        "invalid UTF-8",
        "NUL byte",
        "escaped NUL",
        "empty",
        "null",
        "string",
        "BOM",
    ],
)
def test_hostile_json_gets_an_answer(client: Client, body: bytes) -> None:
    client.post(body)
    status, answer = client.answer()
    assert status in (200, 400)
    json.loads(answer)


def test_the_last_of_duplicate_keys_counts(client: Client) -> None:
    client.post(b'{"instances": 5, "instances": ["some text"]}')
    assert client.answer() == (200, b'{"predictions":["fine"]}')


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
REQUESTS = JSON_VALUES | st.dictionaries(
    st.sampled_from(
        ["instances", "inputs", "dataframe_split", "dataframe_records", "params", "prompt"]
    ),
    JSON_VALUES
    | st.fixed_dictionaries({"columns": JSON_VALUES, "data": JSON_VALUES})
    | st.lists(st.dictionaries(st.just("text"), JSON_VALUES)),
    max_size=2,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(value=REQUESTS)
def test_any_json_value_gets_an_answer_in_json(server: Server, value: Any) -> None:
    answer = server.predict(json.dumps(value).encode())
    assert answer.status in (200, 400, 413, 415)
    json.loads(answer.body)
