"""The requests that wait for a worker."""

from collections import deque
from collections.abc import Callable, Iterator

from server.serving.calls import Call
from server.worker.codecs import LARGEST_MERGED_BODY

_BATCH_BYTES = 1024 * 1024


class Queue:
    """Those that wait.

    Args:
        most: Most calls of a batch.

    Attributes:
        shared: What is asked in turn.
        alone: What is asked before that, each while its worker holds nothing else.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.shared: deque[Call] = deque()
        self.alone: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self.shared) + len(self.alone)

    def __iter__(self) -> Iterator[Call]:
        yield from self.alone
        yield from self.shared

    def add(self, call: Call) -> None:
        """Have a call wait."""
        (self.alone if call.alone else self.shared).append(call)

    def take(self, share: int) -> list[Call]:
        """Take out the next batch: what is first, and what may go with it; empty where nobody waits
        for any of it.

        Args:
            share: Most calls, if fewer than may be.
        """
        calls: list[Call] = []
        size = 0
        most = min(share, self._most)
        while self.shared and len(calls) < most:
            call = self.shared[0]
            size += len(call.body)
            # What comes after one that takes a worker long should wait for another worker.
            single = call.streams or len(call.body) > LARGEST_MERGED_BODY
            if calls and (single or size > _BATCH_BYTES):
                break
            self.shared.popleft()
            if not call.answer.done():
                calls.append(call)
                if single:
                    break
        return calls

    def take_late(self, now: float) -> list[Call]:
        """Take out what a worker must have taken by now."""
        # Not only the first: what was alone elsewhere has longer.
        return self._take_out(lambda call: call.due <= now)

    def take_like(self, other: Call) -> list[Call]:
        """Take out each call that is the same request."""
        return self._take_out(
            lambda call: call.body == other.body and call.content_type == other.content_type
        )

    def take_all(self) -> list[Call]:
        """Take out everything."""
        return self._take_out(lambda _: True)

    def _take_out(self, chosen: Callable[[Call], bool]) -> list[Call]:
        taken: list[Call] = []
        for waiting in (self.alone, self.shared):
            for _ in range(len(waiting)):
                call = waiting.popleft()
                (taken if chosen(call) else waiting).append(call)
        return taken
