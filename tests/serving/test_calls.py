"""A request on its way through a release."""

import asyncio

import pytest

from server.serving.calls import Answered, Call, add_chunk, taken


async def test_a_stream_that_comes_in_the_moment_that_its_client_goes_is_given_up() -> None:
    loop = asyncio.get_running_loop()
    answered: Answered = loop.create_future()
    call = Call(b"", b"", b"", 0.0, answered, b"", streams=True)
    waiting = asyncio.create_task(taken(answered))
    await asyncio.sleep(0)
    told: list[str] = []
    add_chunk(call, b"chunk", "v1", lambda _: None, lambda: told.append("cancel"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert told == ["cancel"]
    assert not call.awaited
