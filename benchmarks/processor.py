"""What processes take of the processor."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.processes import ServerProcess

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET_SHARE = 0.03
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time so far, user and system, in seconds.

    Attributes:
        gateway: Of the process that was started.
        below: Of all others, those that have ended among them.
    """

    gateway: float
    below: float

    def since(self, earlier: "Usage") -> "Usage":
        """What was used from then until now."""
        return Usage(self.gateway - earlier.gateway, self.below - earlier.below)


def usage(server: ServerProcess) -> Usage:
    """What a server has used so far.

    Whoever collects a process that has ended is charged with it and all that it had collected
    (`cutime` and `cstime`, proc_pid_stat(5)), so that the sum over the living misses nothing;
    unless one ends while this reads, or its parent ignores SIGCHLD.
    """
    own, _ = _times(server.pid)
    return Usage(own, sum(sum(_times(pid)) for pid in server.pids()) - own)


def wait_until_quiet(server: ServerProcess, seconds: float = 60.0) -> None:
    """Return when it has done next to nothing for half a second.

    Raises:
        BenchmarkError: it never rests.
    """
    deadline = time.monotonic() + seconds
    before = usage(server)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = usage(server)
        used = now.since(before)
        if abs(used.gateway + used.below) <= _QUIET_SHARE * _LOOK_SECONDS:
            return
        before = now
    raise BenchmarkError(f"{server.name} is still busy after {seconds:g} s without a request")


def _times(pid: int) -> tuple[float, float]:
    """What a process used itself, and what those used that it has collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    # The name may hold spaces and brackets. utime is the 14th field.
    user, system, collected_user, collected_system = map(
        int, stat.rpartition(")")[2].split()[11:15]
    )
    return (user + system) / _TICKS, (collected_user + collected_system) / _TICKS
