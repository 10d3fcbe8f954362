"""How often a release's workers died lately, and what follows."""

from collections import deque

WINDOW_SECONDS = 60.0
MOST_CRASHES = 5
_LONGEST_PAUSE_SECONDS = 30.0


class CrashRecord:
    """The deaths of the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def note(self, now: float) -> float:
        """Note a death and return the seconds to wait before the next start: none after the first
        death, then 1, 2, 4 … while they go on.

        Args:
            now: Seconds, monotonic.
        """
        self._times.append(now)
        while self._times[0] <= now - WINDOW_SECONDS:
            self._times.popleft()
        if len(self._times) == 1:
            return 0.0
        return float(min(_LONGEST_PAUSE_SECONDS, 2 ** (len(self._times) - 2)))

    def any_lately(self, now: float) -> bool:
        """Whether there was a death in the last minute."""
        return bool(self._times) and self._times[-1] > now - WINDOW_SECONDS

    @property
    def too_many(self) -> bool:
        """Whether the version should be given up."""
        return len(self._times) >= MOST_CRASHES
