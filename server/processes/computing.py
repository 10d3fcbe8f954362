"""Whether a process computes, or waits for something else."""

import os
from pathlib import Path

from server.worker.descendants import stat_of

_TICKS = os.sysconf("SC_CLK_TCK")


def computed_seconds(pid: int) -> float | None:
    """How long a process's threads have computed, or waited for a core to compute on: proc(5),
    `/proc/PID/stat`, and `schedstat` of each thread. None where the system does not tell."""
    try:
        _, fields = stat_of(pid)
        computed = (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, LookupError, ValueError):
        return None
    threads = Path(f"/proc/{pid}/task").glob("*")
    return computed + sum(_queued_seconds(thread) for thread in threads)


def _queued_seconds(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, LookupError, ValueError):
        # It has ended, or this kernel does not count it.
        return 0.0


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
