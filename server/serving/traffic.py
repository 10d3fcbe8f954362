"""What a version answered lately: how much, and what may rehearse the next one."""

import math
from collections import Counter, deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

from server.worker.spec import RecordedRequest

_LARGEST = 1024 * 1024
_LARGEST_TOTAL = 16 * 1024 * 1024
_WINDOW_SECONDS = 60.0
_SPREAD_SECONDS = 3600.0
# Making room takes a look at all that is kept.
_BETWEEN_NEW_CLIENTS_SECONDS = 0.1


class AnswerCount:
    """How many requests were answered within the last minute.

    Attributes:
        total: How many ever; whoever answers adds to it.
    """

    def __init__(self) -> None:
        self.total = 0
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, now: float) -> None:
        """Keep what there is by now; to be called every second or so while requests are answered.

        Args:
            now: Seconds, monotonic.
        """
        self._looks.append((now, self.total))
        while len(self._looks) > 1 and self._looks[1][0] <= now - _WINDOW_SECONDS:
            self._looks.popleft()

    def lately(self, now: float) -> int:
        """How many within the last minute, as far as that was looked at."""
        self.look(now)
        then, total = self._looks[0]
        return self.total - (total if then <= now - _WINDOW_SECONDS else 0)


@dataclass(slots=True)
class Kept:
    """A request that may rehearse the next version, and what was answered last.

    Attributes:
        client: Who sent it first, see `server.http.peers.client_of`.
        at: When it was answered, in loop time.
        seconds: What that took.
    """

    client: bytes
    content_type: bytes
    body: bytes
    answer: bytes
    at: float
    seconds: float

    @property
    def size(self) -> int:
        """Bytes, near enough."""
        return len(self.body) + len(self.answer)

    @property
    def recorded(self) -> RecordedRequest:
        """As the worker is told of it."""
        return RecordedRequest(self.content_type, self.body, self.answer)


class RecentRequests:
    """Distinct requests that got a 200, and what was answered: spread over clients and over the
    last hour; in memory only.

    While there is room, each is kept. From then on each client that has some here has one more kept
    at regular intervals, such that all of them together would fill the place once in an hour; one
    that has none has its first kept at once. What makes room is the oldest of the client that has
    the most: so a flood gets no further than one request does, and nobody gets more than a fair
    share while others want theirs.

    Args:
        limit: Most requests kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[tuple[bytes, bytes], Kept] = {}
        self._counts: Counter[bytes] = Counter()
        self._bytes = 0
        # When one more may be kept of a client, by who has some here, and of any other.
        self._due: dict[bytes, float] = {}
        self._others_due = -math.inf if limit else math.inf

    def is_due(self, client: bytes, now: float) -> bool:
        """Whether `note` is to be told of an answer to this client.

        Args:
            now: Loop time.
        """
        return now >= self._due.get(client, self._others_due)

    def note(
        self,
        client: bytes,
        content_type: bytes,
        body: bytes,
        answer: bytes,
        now: float,
        seconds: float,
    ) -> None:
        """Keep a request, unless it is too large.

        Args:
            now: Loop time.
            seconds: What the answer took.
        """
        if len(body) + len(answer) > _LARGEST:
            return
        known = self._kept.get((content_type, body))
        if known is None:
            self._keep(Kept(client, content_type, body, answer, now, seconds), now)
        else:
            self._bytes += len(answer) - len(known.answer)
            known.answer, known.at, known.seconds = answer, now, seconds
            if self._bytes > _LARGEST_TOTAL:
                self._make_room(now)
        if self._due and client in self._counts:
            self._due[client] = now + self._interval * len(self._counts)

    def carry_on(self, kept: Kept, answer: bytes, now: float) -> None:
        """Keep a request that the version before has kept, with the answer that is now right.

        Args:
            now: Loop time.
        """
        taken = replace(kept, answer=answer)
        key = taken.content_type, taken.body
        if key not in self._kept and self._limit and taken.size <= _LARGEST:
            self._keep(taken, now)

    def snapshot(self) -> tuple[Kept, ...]:
        """What is kept now, the oldest first."""
        return tuple(map(copy, sorted(self._kept.values(), key=lambda kept: kept.at)))

    @property
    def _interval(self) -> float:
        return _SPREAD_SECONDS / len(self._kept)

    def _keep(self, kept: Kept, now: float) -> None:
        self._kept[kept.content_type, kept.body] = kept
        self._counts[kept.client] += 1
        self._bytes += kept.size
        full = len(self._kept) >= self._limit or self._bytes > _LARGEST_TOTAL - _LARGEST
        self._make_room(now)
        if full and not self._due:
            self._due = dict.fromkeys(self._counts, now + self._interval * len(self._counts))
        if self._due and max(self._counts.values()) == 1:
            self._others_due = now + self._interval
        elif self._due and self._counts[kept.client] == 1:
            self._others_due = now + _BETWEEN_NEW_CLIENTS_SECONDS

    def _make_room(self, now: float) -> None:
        while len(self._kept) > self._limit or self._bytes > _LARGEST_TOTAL:
            self._drop_one(now)

    def _drop_one(self, now: float) -> None:
        most = max(self._counts.values())
        # What is older than all others should be goes first, whoever sent it.
        oldest = min(self._kept.values(), key=lambda kept: kept.at)
        if oldest.at > now - _SPREAD_SECONDS:
            those = (kept for kept in self._kept.values() if self._counts[kept.client] == most)
            oldest = min(those, key=lambda kept: kept.at)
        del self._kept[oldest.content_type, oldest.body]
        self._bytes -= oldest.size
        self._counts[oldest.client] -= 1
        if not self._counts[oldest.client]:
            del self._counts[oldest.client]
            self._due.pop(oldest.client, None)


def that_fit(requests: Sequence[Kept], seconds: float) -> tuple[Kept, ...]:
    """Those that were answered soonest, as many as took so many seconds together; in the order in
    which they are given."""
    chosen = set()
    for number in sorted(range(len(requests)), key=lambda number: requests[number].seconds):
        seconds -= requests[number].seconds
        if seconds < 0:
            break
        chosen.add(number)
    return tuple(kept for number, kept in enumerate(requests) if number in chosen)
