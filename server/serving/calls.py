"""A request on its way through a release, and the batches that go to workers."""

import asyncio
import math
from typing import TypeAlias

from server.errors import ServingError
from server.worker.frames import Answer

Answered: TypeAlias = "asyncio.Future[tuple[Answer, str]]"
"""Brings the answer and the label of the version that gave it."""


class Call:
    """A request on its way to a worker and back.

    Attributes:
        answer: Done with the worker's answer, or with a `ServingError`.
        client: Who sent it, see `server.http.peers.client_of`.
        alone: Whether it must be predicted by itself, as its worker died or hung before.
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


class Batch:
    """What a worker gets at once.

    Attributes:
        calls: The calls by their place in the frame, until each is answered.
        size: How many calls it began with.
        begun: Loop time at which the worker began with what it has not answered yet.
        due: Loop time until which the worker must have answered; set when it begins.
    """

    __slots__ = ("begun", "calls", "due", "size")

    def __init__(self, calls: list[Call]) -> None:
        self.calls: dict[int, Call] = dict(enumerate(calls))
        self.size = len(calls)
        self.begun = math.inf
        self.due = math.inf


def refuse(call: Call, error: ServingError) -> None:
    """Answer a call with an error, unless it has been answered."""
    if not call.answer.done():
        call.answer.set_exception(error)
