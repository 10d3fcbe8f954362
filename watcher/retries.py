"""When to try a version again that failed to load."""

import math
import time
from collections.abc import Callable

from watcher.versions import Identity

LONGEST_PAUSE_SECONDS = 600.0
_MOST_DOUBLINGS = 30


class RetryPauses:
    """Remembers the one version that the registry names and that would not serve.

    Only one: as soon as the registry moves, the new version is tried at once, and the one before
    it as well, should the registry move back.

    Args:
        first: Seconds to wait after the first failure; doubled after each further one.
        clock: Seconds, monotonic.
    """

    def __init__(self, first: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._clock = clock
        self._identity: Identity | None = None
        self._failures = 0
        self._due_at = 0.0

    def failed(self, identity: Identity) -> float:
        """Note a failure and return the seconds until the version is due again."""
        self._failures = self._failures + 1 if identity == self._identity else 1
        self._identity = identity
        pause = min(
            LONGEST_PAUSE_SECONDS, self._first * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS)
        )
        self._due_at = self._clock() + pause
        return pause

    def give_up(self, identity: Identity) -> None:
        """Note a version that served and would not go on serving: it is not due again until the
        registry moves."""
        self._identity = identity
        self._failures = 0
        self._due_at = math.inf

    def due(self, identity: Identity) -> bool:
        """Whether this version may be tried now."""
        return identity != self._identity or self._clock() >= self._due_at

    def moved_to(self, identity: Identity) -> None:
        """Note what the registry names now: what failed before it is forgotten."""
        if identity != self._identity:
            self._identity = None
