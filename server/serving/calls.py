"""A request on its way through a release, and the batches that go to workers."""

import asyncio
import math
from collections.abc import Callable
from typing import TypeAlias

from server.errors import ServingError
from server.serving.streams import Stream
from server.worker.frames import Answer, may_stream

Answered: TypeAlias = "asyncio.Future[tuple[Answer | Stream, str]]"
"""Brings the answer and the label of the version that gave it; a stream only where `may_stream`."""


class Call:
    """A request on its way to a worker and back.

    Attributes:
        answer: Done with the worker's answer, or with a `ServingError`.
        client: Who sent it, see `server.http.peers.client_of`.
        alone: Whether it must be predicted by itself, as its worker died or hung before.
        streams: Whether it may get a stream, and so has a batch of its own.
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
    ) -> None:
        self.content_type = content_type
        self.request_id = request_id
        self.body = body
        self.due = due
        self.answer = answer
        self.client = client
        self.hold = hold
        self.alone = False
        self.streams = False
        self.stream: Stream | None = None

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for its answer, or for more of that."""
        return self.stream.awaited if self.stream is not None else not self.answer.done()


class Batch:
    """What a worker gets at once.

    Attributes:
        calls: The calls by their place in the frame, until each is answered.
        size: How many calls it began with.
        begun: Loop time at which the worker began with what it has not answered yet.
        due: Loop time until which the worker must have answered; set when it begins.
        hung: Whether it has not.
        blocked: Seconds for which its stream has waited for the client while others waited for it.
    """

    __slots__ = ("begun", "blocked", "calls", "due", "hung", "size")

    def __init__(self, calls: list[Call]) -> None:
        self.calls: dict[int, Call] = dict(enumerate(calls))
        self.size = len(calls)
        self.begun = math.inf
        self.due = math.inf
        self.hung = False
        self.blocked = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the worker has begun with it."""
        return self.begun < math.inf

    @property
    def streams(self) -> bool:
        """Whether it is a request that may get a stream."""
        return any(call.streams for call in self.calls.values())

    @property
    def stream(self) -> Stream | None:
        """The stream that has begun, if one has."""
        return next((call.stream for call in self.calls.values()), None)


def refuse(call: Call, error: ServingError) -> None:
    """Answer a call with an error, unless it has been answered; a stream is cut."""
    if call.stream is not None:
        call.stream.finish(error)
    elif not call.answer.done():
        call.answer.set_exception(error)


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
        ValueError: it has not asked for a stream.
    """
    if call.stream is None:
        if not may_stream(call.body):
            raise ValueError("a chunk for a request that has not asked for a stream")
        call.stream = Stream(credit, cancel)
        if call.answer.done():
            call.stream.cancel()
        else:
            call.answer.set_result((call.stream, label))
    if chunk is not None:
        call.stream.put(chunk)
