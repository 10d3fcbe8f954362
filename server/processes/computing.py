"""Whether a process computes, or waits for something else."""

from server.worker.computing import computed_seconds


class Stopwatch:
    """Begins to measure how much a process computes.

    Args:
        pid: The process.
        now: Seconds, monotonic.
    """

    def __init__(self, pid: int, now: float) -> None:
        self._pid = pid
        self._began = now
        self._computed = computed_seconds(pid)

    def computing(self, now: float) -> bool:
        """Whether it has computed for at least half of the time since; False if nobody can tell."""
        computed = computed_seconds(self._pid)
        if computed is None or self._computed is None:
            return False
        return computed - self._computed >= (now - self._began) / 2
