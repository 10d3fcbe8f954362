"""What all connections share: their limits, and who makes room when there are too many."""

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Protocol

from server.http.budget import Budget


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of connections.

    Attributes:
        connections: How many may be open.
        head_seconds: What the head of a request may take to arrive, once it has begun to.
        body_grace_seconds: What a body may take to arrive, however slowly it comes.
        body_bytes_per_second: How fast it must have come, on average, after that.
        write_seconds: How long what is sent may make no progress.
    """

    connections: int
    head_seconds: float = 10.0
    body_grace_seconds: float = 5.0
    body_bytes_per_second: float = 1024.0
    write_seconds: float = 30.0


class Idle(Protocol):
    """A connection that may be idle."""

    @property
    def idle(self) -> bool:
        """Whether it has no request under way, nor an answer that is not sent."""

    def hang_up(self) -> None:
        """Close it."""


class Clients:
    """The connections as a whole.

    Attributes:
        ended: How many were closed before their clients had done so, by the reason.

    Args:
        limits: Their limits.
        budget: What they may hold.
    """

    def __init__(self, limits: Limits, budget: Budget) -> None:
        self.limits = limits
        self.budget = budget
        self.ended: Counter[str] = Counter()
        # Who may be idle, the longest one first. Who is busy again is taken out when it is come
        # across, and put back with its next answer: each look is paid for by a request.
        self._idle: OrderedDict[Idle, None] = OrderedDict()

    def note_idle(self, connection: Idle) -> None:
        """Note that a connection has been opened, or has had its answer."""
        self._idle[connection] = None
        self._idle.move_to_end(connection)

    def forget(self, connection: Idle) -> None:
        """Note that a connection is closed."""
        self._idle.pop(connection, None)

    def make_room(self) -> bool:
        """Close the connection that has been idle longest, and return whether there is one."""
        while self._idle:
            connection, _ = self._idle.popitem(last=False)
            if connection.idle:
                self.ended["idle"] += 1
                connection.hang_up()
                return True
        self.ended["refused"] += 1
        return False
