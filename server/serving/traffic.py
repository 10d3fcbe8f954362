"""What a version answered lately: how much, and what may rehearse the next one."""

from collections import OrderedDict, deque

from server.worker.spec import RecordedRequest

_LARGEST = 1024 * 1024
_LARGEST_TOTAL = 16 * 1024 * 1024
_WINDOW_SECONDS = 60.0


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


class RecentRequests:
    """Distinct requests that got a 200, and what was answered; in memory only.

    Args:
        limit: Most requests kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answers: OrderedDict[tuple[bytes, bytes], bytes] = OrderedDict()
        self._bytes = 0

    def note(self, content_type: bytes, body: bytes, answer: bytes) -> None:
        """Keep a request and its answer; the oldest make room."""
        size = len(body) + len(answer)
        if self._limit == 0 or size > _LARGEST:
            return
        self._drop((content_type, body))
        self._answers[content_type, body] = answer
        self._bytes += size
        while len(self._answers) > self._limit or self._bytes > _LARGEST_TOTAL:
            self._drop(next(iter(self._answers)))

    def snapshot(self) -> tuple[RecordedRequest, ...]:
        """What is kept now, the oldest first."""
        return tuple(
            RecordedRequest(content_type, body, answer)
            for (content_type, body), answer in self._answers.items()
        )

    def _drop(self, key: tuple[bytes, bytes]) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._bytes -= len(key[1]) + len(answer)
