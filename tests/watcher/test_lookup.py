"""The look-up process against registries that misbehave in ways of their own."""

import asyncio
import gc
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import psutil
import pytest

from server.processes.environment import Environment
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.waiting import wait_until
from watcher.lookup import Fork, Forked, Lookup
from watcher.model_uri import parse_model_uri
from watcher.versions import ModelVersion, RegistryUnreachable

URI = "models:/demo/Production"


@pytest.fixture
async def fork(environment: Environment) -> Fork:
    """Forks from a process that has imported what the look-up process needs."""
    await environment.start()
    return environment.fork


@asynccontextmanager
async def lookup(
    fork: Fork, registry: str, uri: str = URI, deadline: float = 20.0
) -> AsyncIterator[Lookup]:
    """Something that asks this registry, until the block ends."""
    environment = {"MLFLOW_TRACKING_URI": registry}
    asks = Lookup(parse_model_uri(uri), fork, environment, deadline)
    try:
        yield asks
    finally:
        await asks.close()


def lookup_processes() -> list[psutil.Process]:
    """The look-up processes of this process that run."""
    environments = [p for p in psutil.Process().children() if p.name() == "environment"]
    below = [p for environment in environments for p in environment.children()]
    return [p for p in below if p.name() == "lookup"]


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that does this with each connection; its URL."""
    open_sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                open_sockets.append(connection)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_sockets:
                connection.close()


def http(status: str, content_type: str, body: str, *headers: str) -> Callable[..., None]:
    """Answers every request on a connection like this."""
    lines = (
        *(f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"),
        *(*headers, "Connection: close", "", body),
    )
    data = "\r\n".join(lines).encode()

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        connection.close()

    return answer


def silent(connection: socket.socket) -> None:
    """Accepts, and never answers."""


def closing(connection: socket.socket) -> None:
    """Accepts, and closes at once."""
    connection.close()


def garbling(connection: socket.socket) -> None:
    """Answers what is not HTTP."""
    connection.recv(65536)
    connection.sendall(b"\x00\xff\x00\xff" * 100)
    connection.close()


def cut_in_its_headers(connection: socket.socket) -> None:
    """Closes the connection before it has said all about the answer."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: uvi")
    connection.close()


BROKEN = {
    "html": http("200 OK", "text/html", "<html><body>Please log in</body></html>"),
    "json that means nothing": http("200 OK", "application/json", '["unexpected"]'),
    "nothing": http("200 OK", "application/json", ""),
    "an empty object": http("200 OK", "application/json", "{}"),
    "json of another service": http("200 OK", "application/json", '{"status": "ok"}'),
    "a version without a number": http(
        "200 OK", "application/json", '{"model_versions": [{}], "model_version": {"name": "demo"}}'
    ),
    "headers that are cut": cut_in_its_headers,
    "json that is cut": http("200 OK", "application/json", '{"model_versions": [{'),
    "500": http("500 Internal Server Error", "text/plain", "no database"),
    "502 html": http("502 Bad Gateway", "text/html", "<html>bad gateway</html>"),
    "503": http("503 Service Unavailable", "application/json", '{"error_code": "X"}'),
    "403": http("403 Forbidden", "text/plain", "Invalid Host header"),
    "401": http("401 Unauthorized", "text/html", "who are you?"),
    "404 html": http("404 Not Found", "text/html", "<html>another service</html>"),
    "redirect loop": http("302 Found", "text/html", "", "Location: /"),
    "closing": closing,
    "garbling": garbling,
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("form", ["/Production", "/latest", "@production", "/1"])
async def test_what_is_no_answer_of_a_registry_is_an_outage(
    fork: Fork, answer: Callable[[socket.socket], None], form: str
) -> None:
    with listening(answer) as url:
        async with lookup(fork, url, f"models:/demo{form}") as asks:
            with pytest.raises(RegistryUnreachable) as caught:
                await asks()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "look-up process failed" not in message


async def test_a_refused_connection_is_an_outage_at_once(fork: Fork) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    async with lookup(fork, url) as asks:
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(RegistryUnreachable):
                await asks()
        assert time.monotonic() - started < 5


async def test_a_name_that_does_not_resolve_is_an_outage(fork: Fork) -> None:
    async with lookup(fork, "http://registry.invalid:5000") as asks:
        with pytest.raises(RegistryUnreachable):
            await asks()


async def test_a_silent_registry_is_an_outage_after_the_deadline(
    fork: Fork,
) -> None:
    with listening(silent) as url:
        async with lookup(fork, url, deadline=1.0) as asks:
            started = time.monotonic()
            for _ in range(2):
                with pytest.raises(RegistryUnreachable, match="no answer within 1 s"):
                    await asks()
            assert 2 <= time.monotonic() - started < 6
    wait_until(lambda: lookup_processes() == [], "no process is left waiting", 5)


async def test_a_silent_registry_does_not_block_the_event_loop(fork: Fork) -> None:
    with listening(silent) as url:
        async with lookup(fork, url, deadline=2.0) as asks:
            question = asyncio.create_task(asks())
            longest, loop = 0.0, asyncio.get_running_loop()
            while not question.done():
                before = loop.time()
                await asyncio.sleep(0)
                longest = max(longest, loop.time() - before)
            # Blocked, it would stand still until the deadline.
            assert longest < 1.0
            with pytest.raises(RegistryUnreachable):
                await question


async def test_it_recovers_by_itself_from_a_process_that_died(
    fork: Fork, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    uri = f"models:/{model_name}/Production"
    async with lookup(fork, registry.uri, uri) as asks:
        assert (await asks()).version == "1"
        (process,) = lookup_processes()
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: lookup_processes() == [], "it is dead")
        with pytest.raises(RegistryUnreachable):
            await asks()
        assert (await asks()).version == "1"
    wait_until(lambda: lookup_processes() == [], "it ended with what it served", 5)


async def test_many_questions_are_answered_by_one_process(
    fork: Fork, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    uri = f"models:/{model_name}/Production"
    async with lookup(fork, registry.uri, uri) as asks:
        found = await asyncio.gather(*(asks() for _ in range(10)))
        found += [await asks() for _ in range(3)]
        assert {version.version for version in found} == {"1"}
        assert len(lookup_processes()) == 1


async def test_a_process_that_does_not_start_is_an_outage(
    fork: Fork, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    failing = True

    async def start(name: str, target: str) -> Forked:
        if failing:
            raise OSError("no more processes")
        return await fork(name, target)

    async with lookup(start, registry.uri, f"models:/{model_name}/Production") as asks:
        for _ in range(2):
            with pytest.raises(RegistryUnreachable, match="no more processes"):
                await asks()
        failing = False
        assert (await asks()).version == "1"


class Counting:
    """A registry that answers its first request with version 1, its second with version 2 and so
    on, each one when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self._answers = threading.Semaphore(0)

    def __call__(self, connection: socket.socket) -> None:
        self.asked += 1
        version = {
            "name": "demo",
            "version": str(self.asked),
            "source": "s3://bucket/model",
            "status": "READY",
        }
        if self._answers.acquire(timeout=20):
            answer = json.dumps({"model_versions": [version]})
            http("200 OK", "application/json", answer)(connection)

    def answer(self) -> None:
        """Answer one request."""
        self._answers.release()

    async def is_asked(self, times: int) -> None:
        """Wait until it has been asked so often."""
        await asyncio.to_thread(wait_until, lambda: self.asked == times, f"request {times}")


@pytest.fixture
def counting() -> Counting:
    return Counting()


async def ask(asks: Lookup) -> asyncio.Task[ModelVersion]:
    """Call for an answer without waiting for it."""
    question = asyncio.ensure_future(asks())
    await asyncio.sleep(0)
    return question


async def test_callers_that_wait_share_the_next_question_and_get_no_older_answer(
    fork: Fork, counting: Counting
) -> None:
    with listening(counting) as url:
        async with lookup(fork, url) as asks:
            first = await ask(asks)
            await counting.is_asked(1)
            waiting = [await ask(asks) for _ in range(5)]
            counting.answer()
            await counting.is_asked(2)
            latecomer = await ask(asks)
            counting.answer()
            counting.answer()
            assert (await first).version == "1"
            assert [v.version for v in await asyncio.gather(*waiting)] == ["2"] * 5
            assert (await latecomer).version == "3"
    assert counting.asked == 3


async def test_a_silent_registry_keeps_nobody_for_more_than_two_questions(
    fork: Fork, counting: Counting
) -> None:
    with listening(counting) as url:
        async with lookup(fork, url, deadline=1.0) as asks:
            started = time.monotonic()
            first = await ask(asks)
            await counting.is_asked(1)
            waiting = [await ask(asks) for _ in range(9)]
            for answer in await asyncio.gather(first, *waiting, return_exceptions=True):
                assert isinstance(answer, RegistryUnreachable)
            assert time.monotonic() - started < 6
        counting.answer()
        counting.answer()


async def test_a_cancelled_caller_does_not_disturb_those_who_share_its_question(
    fork: Fork, counting: Counting
) -> None:
    with listening(counting) as url:
        async with lookup(fork, url) as asks:
            first = await ask(asks)
            await counting.is_asked(1)
            (process,) = lookup_processes()
            early, late, patient = [await ask(asks) for _ in range(3)]
            early.cancel()
            counting.answer()
            await counting.is_asked(2)
            late.cancel()
            counting.answer()
            assert (await first).version == "1"
            assert (await patient).version == "2"
            for cancelled in (early, late):
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
            assert lookup_processes() == [process]


async def test_a_cancelled_caller_s_answer_is_not_taken_for_the_next(
    fork: Fork, counting: Counting
) -> None:
    with listening(counting) as url:
        async with lookup(fork, url) as asks:
            alone = await ask(asks)
            await counting.is_asked(1)
            alone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await alone
            later = await ask(asks)
            counting.answer()
            counting.answer()
            assert (await later).version == "2"


async def test_nobody_needs_to_wait_for_a_question_that_fails(
    fork: Fork, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    async with lookup(fork, url) as asks:
        alone = await ask(asks)
        alone.cancel()
        with pytest.raises(RegistryUnreachable):
            await asks()
        gc.collect()
    assert caplog.records == []


async def test_closing_does_not_wait_for_an_answer(fork: Fork, counting: Counting) -> None:
    with listening(counting) as url:
        async with lookup(fork, url, deadline=60.0) as asks:
            callers = [await ask(asks)]
            await counting.is_asked(1)
            callers.append(await ask(asks))
            async with asyncio.timeout(10):
                await asks.close()
            for caller in callers:
                with pytest.raises(asyncio.CancelledError):
                    await caller
            await asyncio.to_thread(wait_until, lambda: lookup_processes() == [], "it ended")
        counting.answer()
