"""Answers in chunks, between the worker that makes them and the client that takes them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from server.errors import ServingError
from server.worker.frames import CHUNK_OVERHEAD, STREAM_WINDOW, Answer

# What a client takes is told of in pieces of so many bytes.
_CREDIT_BYTES = STREAM_WINDOW // 4


class Stream:
    """One such answer.

    Args:
        credit: Called with bytes that the client has taken: so much more may come.
        cancel: Called when it is of no use any more.

    Attributes:
        end: What ended it: an answer that is an error, or says that it is whole; or why there will
            be none. None while it goes on.
        cancelled: Whether its client takes no more.
    """

    def __init__(self, credit: Callable[[int], None], cancel: Callable[[], None]) -> None:
        self.end: Answer | ServingError | None = None
        self.cancelled = False
        self._credit = credit
        self._cancel = cancel
        self._chunks: deque[bytes] = deque()
        # Bytes that the worker has not been told to be taken, and those of them that are.
        self._owed = 0
        self._taken = 0
        self._sending = False
        self._came = asyncio.Event()

    @property
    def untaken(self) -> bool:
        """Whether there are chunks that a client is about to take."""
        return self.awaited and (self._sending or bool(self._chunks))

    @property
    def awaited(self) -> bool:
        """Whether anyone waits for more of it."""
        return self.end is None and not self.cancelled

    def put(self, chunk: bytes) -> None:
        """Add a chunk.

        Raises:
            ValueError: the worker was not to send any.
        """
        if self._owed >= STREAM_WINDOW:
            raise ValueError("a chunk that there is no room for")
        self._owed += len(chunk) + CHUNK_OVERHEAD
        if not self.cancelled and self.end is None:
            self._chunks.append(chunk)
            self._came.set()

    def finish(self, end: Answer | ServingError) -> None:
        """End it, unless it has ended; where it is cut, its worker need not go on."""
        if self.end is None:
            self.end = end
            self._came.set()
            if isinstance(end, ServingError):
                self._cancel()

    def cancel(self) -> None:
        """Note that the client takes no more; to be called also when it has taken all."""
        if not self.cancelled:
            self.cancelled = True
            self._chunks.clear()
            if self.end is None:
                self._cancel()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the chunks until `end`. Each counts as taken when the next one is asked for."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                size = len(chunk)
                self._sending = True
                yield chunk
                self._sending = False
                # Given back as soon as it is sent, however long the next one takes.
                del chunk
                self._take(size)
            if self.end is not None:
                return
            self._came.clear()
            await self._came.wait()

    def _take(self, size: int) -> None:
        self._taken += size + CHUNK_OVERHEAD
        if self._taken >= _CREDIT_BYTES and self.end is None:
            self._credit(self._taken)
            self._owed -= self._taken
            self._taken = 0
