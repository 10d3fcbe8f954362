"""The look-up process against registries that misbehave in ways of their own."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.context import ForkServerContext

import psutil
import pytest

from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.waiting import wait_until
from watcher.lookup import Lookup
from watcher.model_uri import parse_model_uri
from watcher.versions import RegistryUnreachable, VersionMissing

URI = "models:/demo/Production"


@pytest.fixture(scope="session")
def context() -> ForkServerContext:
    """A fork server that has imported what the look-up process needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["watcher.registry"])
    return context


@asynccontextmanager
async def lookup(
    context: ForkServerContext, registry: str, uri: str = URI, deadline: float = 20.0
) -> AsyncIterator[Lookup]:
    """Something that asks this registry, until the block ends."""
    environment = {"MLFLOW_TRACKING_URI": registry}
    asks = Lookup(parse_model_uri(uri), context, environment, deadline)
    try:
        yield asks
    finally:
        await asks.close()


def lookup_processes() -> list[psutil.Process]:
    """The processes that the tests' fork server has forked."""
    fork_servers = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
    return [p for server in fork_servers for p in server.children() if p.is_running()]


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


BROKEN = {
    "html": http("200 OK", "text/html", "<html><body>Please log in</body></html>"),
    "json that means nothing": http("200 OK", "application/json", '["unexpected"]'),
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
async def test_what_is_no_answer_of_a_registry_is_an_outage(
    context: ForkServerContext, answer: Callable[[socket.socket], None]
) -> None:
    with listening(answer) as url:
        async with lookup(context, url) as asks:
            with pytest.raises(RegistryUnreachable) as caught:
                await asks()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert "look-up process failed" not in message


async def test_a_refused_connection_is_an_outage_at_once(context: ForkServerContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    async with lookup(context, url) as asks:
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(RegistryUnreachable):
                await asks()
        assert time.monotonic() - started < 5


async def test_a_name_that_does_not_resolve_is_an_outage(context: ForkServerContext) -> None:
    async with lookup(context, "http://registry.invalid:5000") as asks:
        with pytest.raises(RegistryUnreachable):
            await asks()


async def test_a_silent_registry_is_an_outage_after_the_deadline(
    context: ForkServerContext,
) -> None:
    with listening(silent) as url:
        async with lookup(context, url, deadline=1.0) as asks:
            started = time.monotonic()
            for _ in range(2):
                with pytest.raises(RegistryUnreachable, match="no answer within 1 s"):
                    await asks()
            assert 2 <= time.monotonic() - started < 6
    wait_until(lambda: lookup_processes() == [], "no process is left waiting", 5)


async def test_a_silent_registry_does_not_block_the_event_loop(context: ForkServerContext) -> None:
    with listening(silent) as url:
        async with lookup(context, url, deadline=0.5) as asks:
            question = asyncio.create_task(asks())
            longest, loop = 0.0, asyncio.get_running_loop()
            while not question.done():
                before = loop.time()
                await asyncio.sleep(0)
                longest = max(longest, loop.time() - before)
            assert longest < 0.3
            with pytest.raises(RegistryUnreachable):
                await question


async def test_it_recovers_by_itself_from_a_process_that_died(
    context: ForkServerContext, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    uri = f"models:/{model_name}/Production"
    async with lookup(context, registry.uri, uri) as asks:
        assert (await asks()).version == "1"
        (process,) = lookup_processes()
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: lookup_processes() == [], "it is dead")
        with pytest.raises(RegistryUnreachable):
            await asks()
        assert (await asks()).version == "1"
    wait_until(lambda: lookup_processes() == [], "it ended with what it served", 5)


async def test_many_questions_are_answered_by_one_process_one_at_a_time(
    context: ForkServerContext, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    uri = f"models:/{model_name}/Production"
    async with lookup(context, registry.uri, uri) as asks:
        found = await asyncio.gather(*(asks() for _ in range(10)))
        assert {version.version for version in found} == {"1"}
        assert len(lookup_processes()) == 1


async def test_a_cancelled_question_is_not_answered_to_the_next(
    context: ForkServerContext, registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    version = registry.add(model_name, saved.saying("one"))
    async with lookup(context, registry.uri, f"models:/{model_name}/Production") as asks:
        with pytest.raises(VersionMissing):
            await asks()
        question = asyncio.create_task(asks())
        await asyncio.sleep(0)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        registry.promote(model_name, version)
        assert (await asks()).version == version
