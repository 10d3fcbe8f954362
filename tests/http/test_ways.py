"""What the short way rests on in aiohttp is tried at the start; the ordinary way is left."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import StreamReader, web
from structlog.testing import capture_logs

from server.http import runner, trial
from server.http.trial import short_way_problem
from tests.conftest import Connect
from tests.support.gateway import Client, Gateway
from tests.support.models import TEXT_REQUEST

Change = Callable[[pytest.MonkeyPatch], None]


async def test_the_installed_aiohttp_is_as_the_short_way_has_it() -> None:
    assert await short_way_problem() is None


def without_flow_control(patch: pytest.MonkeyPatch) -> None:
    """A part is gone, or has another name."""
    patch.delattr(web.RequestHandler.__mro__[1], "_pause_transport_reading")


def with_more_parameters(patch: pytest.MonkeyPatch) -> None:
    """A method that is overridden gets more than it did."""

    def received(self: web.RequestHandler, data: bytes, more: int = 0) -> None: ...

    patch.setattr(web.RequestHandler, "data_received", received)


def with_a_name_of_ours(patch: pytest.MonkeyPatch) -> None:
    """A name that is the server's own is aiohttp's, too."""
    patch.setattr(web.RequestHandler, "_answering", None, raising=False)


def told_in_another_way(patch: pytest.MonkeyPatch) -> None:
    """Every name is there, but aiohttp's loop is woken by other means."""
    received = web.RequestHandler.data_received

    def data_received(self: web.RequestHandler, data: bytes) -> None:
        waiters = [f for f in seen if not f.done()]
        received(self, data)
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    seen: list[asyncio.Future[None]] = []
    start = web.RequestHandler.start

    async def started(self: web.RequestHandler) -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append(self._waiter))  # type: ignore[arg-type]
        await start(self)

    patch.setattr(web.RequestHandler, "data_received", data_received)
    patch.setattr(web.RequestHandler, "start", started)


def with_bodies_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Every name is there, but a body is not found by it."""
    patch.setattr(StreamReader, "read_nowait", lambda *_: b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_flow_control, "RequestHandler has no _pause_transport_reading"),
        (with_more_parameters, "RequestHandler.data_received takes self, data, more"),
        (with_a_name_of_ours, "RequestHandler has _answering of its own"),
        (told_in_another_way, ""),
        (with_bodies_elsewhere, "b'1' was answered with b''"),
    ],
)
async def test_an_aiohttp_that_has_changed_is_noticed(
    monkeypatch: pytest.MonkeyPatch, change: Change, said: str
) -> None:
    change(monkeypatch)
    monkeypatch.setattr(trial, "_SECONDS", 1.0)
    problem = await short_way_problem()
    monkeypatch.undo()
    assert problem is not None
    assert said in problem
    assert "\n" not in problem
    assert await short_way_problem() is None


async def test_the_ordinary_way_is_taken_where_the_short_one_can_not_be(
    gateway: Gateway, connect: Connect, way: str
) -> None:
    with capture_logs() as events:
        client = await connect(gateway)
    said = [event for event in events if event["event"] == "short_way_unavailable"]
    assert len(said) == (way == "ordinary")
    if said:
        assert said[0]["log_level"] == "warning"
        assert said[0].keys() == {"event", "log_level", "aiohttp_version", "error"}
    answer = await client.predict(TEXT_REQUEST)
    assert (answer.status, answer.json) == (200, {"predictions": ["stable"]})


@pytest.mark.parametrize("path", ["/invocations"])
async def test_both_ways_answer_alike(
    gateway: Gateway, connect: Connect, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def ask(client: Client) -> list[tuple[int, set[str], Any]]:
        answers = [
            await client.request("POST", path, body)
            for body in (TEXT_REQUEST, b"{", b"", {"instances": ["some text"] * 4_000})
        ]
        return [(a.status, {*a.headers} - {"server"}, a.json) for a in answers]

    async def unavailable() -> str:
        return "the test has it so"

    with monkeypatch.context() as patch:
        patch.setattr(runner, "short_way_problem", short_way_problem)
        short = await ask(await connect(gateway))
    monkeypatch.setattr(runner, "short_way_problem", unavailable)
    assert await ask(await connect(gateway)) == short
