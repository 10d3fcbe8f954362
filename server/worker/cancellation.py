"""Stopping what nobody waits for any more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Cancellation:
    """Whether anybody still waits for one batch's answer; it is set by another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._calls: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether nobody does."""
        return self._cancelled

    def cancel(self) -> None:
        """Note that nobody does, and call what is to be called then."""
        with self._lock:
            self._cancelled = True
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """While in it, `call` is called when it is cancelled; at once if it is already."""
        with self._lock:
            if not self._cancelled:
                self._calls.append(call)
        if self._cancelled:
            call()
        try:
            yield
        finally:
            with self._lock:
                if call in self._calls:
                    self._calls.remove(call)


class Outlet(Protocol):
    """Where the chunks of a stream go."""

    def begin(self) -> None:
        """Say that the stream has begun, unless a chunk has said so."""

    def send(self, chunk: bytes) -> bool:
        """Send a chunk, once the client has taken enough of those before it; False if nobody
        wants any more."""


CURRENT: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
"""That of the batch that is being predicted in this context, where it can be cancelled."""


def is_cancelled() -> bool:
    """Whether nobody waits for what is being predicted in this context."""
    current = CURRENT.get()
    return current is not None and current.cancelled
