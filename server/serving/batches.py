"""What workers get at once."""

import math

from server.serving.calls import Call
from server.serving.streams import Stream


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
