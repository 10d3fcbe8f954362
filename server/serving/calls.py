"""A request on its way through a release."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from server.errors import ServingError
from server.serving.streams import Stream
from server.worker.frames import Answer

Answered: TypeAlias = "asyncio.Future[tuple[Answer | Stream, str]]"
"""Brings the answer and the label of the version that gave it; a stream only to a call that may get
one."""


class Call:
    """A request on its way to a worker and back.

    Attributes:
        answer: Done with the worker's answer, or with a `ServingError`.
        client: Who sent it, see `server.http.peers.client_of`.
        alone: Whether it must be predicted by itself, as its worker died or hung before.
        streams: Whether whoever asks can take a stream, and may want one; it has a batch of its
            own then.
        stream: What it gets, once that has begun.
        due: Loop time until which a worker must have taken it.
        hold: Kept for as long as the call is: what its body takes of memory is given back with it.
    """

    __slots__ = (
        "alone",
        "answer",
        "body",
        "client",
        "content_type",
        "due",
        "hold",
        "request_id",
        "stream",
        "streams",
    )

    def __init__(
        self,
        content_type: bytes,
        request_id: bytes,
        body: bytes,
        due: float,
        answer: Answered,
        client: bytes,
        hold: object = None,
        *,
        streams: bool = False,
    ) -> None:
        self.content_type = content_type
        self.request_id = request_id
        self.body = body
        self.due = due
        self.answer = answer
        self.client = client
        self.hold = hold
        self.alone = False
        self.streams = streams
        self.stream: Stream | None = None

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for its answer, or for more of that."""
        return self.stream.awaited if self.stream is not None else not self.answer.done()


def refuse(call: Call, error: ServingError) -> None:
    """Answer a call with an error, unless it has been answered; a stream is cut."""
    if call.stream is not None:
        call.stream.finish(error)
    elif not call.answer.done():
        call.answer.set_exception(error)


async def taken(answered: Answered) -> tuple[Answer | Stream, str]:
    """What it brings.

    Raises:
        ServingError: it brings that.
        CancelledError: whoever waits is to wait no more; a stream that had come is given up.
    """
    try:
        return await answered
    except asyncio.CancelledError:
        if answered.done() and not answered.cancelled() and answered.exception() is None:
            came, _ = answered.result()
            if isinstance(came, Stream):
                came.cancel()
        raise


def answer(call: Call, given: Answer, label: str) -> None:
    """Give a call its answer, unless nobody waits for it.

    Args:
        label: The version that has given it.
    """
    if call.stream is not None:
        call.stream.finish(given)
    elif not call.answer.done():
        call.answer.set_result((given, label))


def add_chunk(
    call: Call,
    chunk: bytes | None,
    label: str,
    credit: Callable[[int], None],
    cancel: Callable[[], None],
) -> None:
    """Give a call a chunk of its stream, or None where that begins without one.

    Args:
        label: The version that it comes from.
        credit: As that of `Stream`.
        cancel: As that of `Stream`.

    Raises:
        ValueError: it may not get a stream, or has no room for a chunk.
    """
    if call.stream is None:
        if not call.streams:
            raise ValueError("a chunk for a request that may not get a stream")
        call.stream = Stream(credit, cancel)
        if call.answer.done():
            call.stream.cancel()
        else:
            call.answer.set_result((call.stream, label))
    if chunk is not None:
        call.stream.put(chunk)
