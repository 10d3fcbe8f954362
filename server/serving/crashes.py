"""How often a release's workers died lately, and what follows."""

from collections import deque

WINDOW_SECONDS = 60.0
MOST_CRASHES = 5
MOST_CULPRITS = 5
_MOST_CULPRITS_SHARE = 0.1
_LONGEST_PAUSE_SECONDS = 30.0


class CrashRecord:
    """The deaths of the last minute.

    Where workers are forked from a template, only deaths without a request are noted as crashes,
    and the requests that killed or hung a worker by themselves as culprits. Else each death is a
    crash.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._culprits: dict[bytes, float] = {}
        self._unfit_until = float("-inf")

    def note(self, now: float, *, forks: bool = False) -> float:
        """Note a death and return the seconds to wait before the next start: none after the first
        death, then 1, 2, 4 … while they go on.

        Args:
            now: Seconds, monotonic.
            forks: Whether the next start is a mere fork: there is no pause then before there were
                so many deaths that the version should be given up.
        """
        self._times.append(now)
        while self._times[0] <= now - WINDOW_SECONDS:
            self._times.popleft()
        paused = len(self._times) - (MOST_CRASHES if forks else 1)
        return float(min(_LONGEST_PAUSE_SECONDS, 2 ** (paused - 1))) if paused > 0 else 0.0

    def note_culprit(self, digest: bytes, now: float, answered: int) -> bool:
        """Note that a request killed or hung a worker by itself, and return whether the fault is
        the version's by now: five different ones, and more than a tenth of the last minute's.

        Args:
            digest: What the request is known by.
            now: Seconds, monotonic.
            answered: How many requests workers have answered within the last minute.
        """
        self._culprits[digest] = now
        oldest = now - WINDOW_SECONDS
        self._culprits = {one: at for one, at in self._culprits.items() if at > oldest}
        number = len(self._culprits)
        unfit = number >= MOST_CULPRITS and number > _MOST_CULPRITS_SHARE * (number + answered)
        if unfit:
            self._unfit_until = now + WINDOW_SECONDS
        return unfit

    def any_lately(self, now: float) -> bool:
        """Whether there was a crash in the last minute, or too many culprits."""
        crashed = bool(self._times) and self._times[-1] > now - WINDOW_SECONDS
        return crashed or now < self._unfit_until

    @property
    def too_many(self) -> bool:
        """Whether there were so many crashes that the version should be given up."""
        return len(self._times) >= MOST_CRASHES
