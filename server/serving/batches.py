"""What workers get at once of the requests that wait."""

import math
from collections import deque

from server.serving.calls import Call
from server.serving.streams import Stream

# A request this large is never merged, and takes a worker long enough that what comes after it
# should wait for another one.
_LARGE_BODY = 64 * 1024
_BATCH_BYTES = 1024 * 1024


class Batch:
    """What a worker gets at once.

    Attributes:
        calls: The calls by their place in the frame, until each is answered.
        size: How many calls it began with.
        streams: Whether it is one that may get a stream.
        begun: Loop time at which the worker began with what it has not answered yet.
        due: Loop time until which the worker must have answered; set when it begins.
        hung: Whether it has not.
        blocked: Seconds for which its stream has waited for the client while others waited for it.
    """

    __slots__ = ("begun", "blocked", "calls", "due", "hung", "size", "streams")

    def __init__(self, calls: list[Call]) -> None:
        self.calls: dict[int, Call] = dict(enumerate(calls))
        self.size = len(calls)
        self.streams = calls[0].streams
        self.begun = math.inf
        self.due = math.inf
        self.hung = False
        self.blocked = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether the worker has begun with it."""
        return self.begun < math.inf

    @property
    def stream(self) -> Stream | None:
        """The stream that has begun, if one has."""
        return next((call.stream for call in self.calls.values()), None)


def take_next(queue: deque[Call], most: int) -> list[Call]:
    """Take the next batch out of a queue: what is first, and what may go with it; empty where
    nobody waits for any of it.

    Args:
        most: Most calls.
    """
    calls: list[Call] = []
    size = 0
    while queue and len(calls) < most:
        call = queue[0]
        size += len(call.body)
        single = call.alone or call.streams or len(call.body) > _LARGE_BODY
        if calls and (single or size > _BATCH_BYTES):
            break
        queue.popleft()
        if not call.answer.done():
            calls.append(call)
            if single:
                break
    return calls
