"""How long a thread or a process has computed, or waited for a core to compute on."""

import contextlib
import functools
import os
import time
from pathlib import Path


def schedstat(directory: str) -> tuple[int, int]:
    """How long a thread has computed, and how long it waited for a core, in nanoseconds:
    Documentation/scheduler/sched-stats.rst in Linux. While it runs, the first lags behind by a tick
    of the kernel's at most.

    Args:
        directory: The thread's, such as `/proc/self/task/1`.

    Raises:
        OSError: there is none, or this kernel does not count.
    """
    descriptor = os.open(f"{directory}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        computed, waited, slices = os.read(descriptor, 64).split()
    finally:
        os.close(descriptor)
    if slices == b"0":
        # A thread that reads this has been given a core at least once.
        raise OSError(f"{directory}/schedstat counts nothing")
    return int(computed), int(waited)


def spent(pid: int) -> tuple[int, int]:
    """The same of all threads of a process, and what those have computed that have ended.

    Raises:
        OSError: there is no such process, or the system does not tell.
    """
    # `clock_getcpuclockid` makes the clock's number in this way: include/linux/posix-timers.h.
    computed = time.clock_gettime_ns((~pid << 3) | 2)
    waited = 0
    for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            waited += schedstat(f"/proc/{pid}/task/{thread}")[1]
    return computed, waited


def pressure() -> int | None:
    """For how long anything in the same control group, or else on this machine, has waited for a
    core, in nanoseconds; None where this kernel does not tell: Documentation/accounting/psi.rst in
    Linux."""
    for path in _pressure_files():
        with contextlib.suppress(OSError):
            some, *_ = path.read_bytes().splitlines()
            return 1000 * int(some.rpartition(b"total=")[2])
    return None


@functools.cache
def _pressure_files() -> list[Path]:
    of_machine = Path("/proc/pressure/cpu")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            # The second version's hierarchy: cgroups(7).
            if line.startswith("0::"):
                of_group = Path("/sys/fs/cgroup", line[3:].strip("/"), "cpu.pressure")
                return [of_group, of_machine]
    return [of_machine]


def computed_seconds(pid: int) -> float | None:
    """How long a process has computed, or waited for a core; None where the system does not
    tell."""
    try:
        return sum(spent(pid)) / 1e9
    except OSError:
        return None


def unhurried() -> float:
    """Seconds on a clock of the calling thread's own that stands still while it waits for a core;
    where this kernel does not tell, on one that goes on."""
    now = time.monotonic()
    try:
        _, waited = schedstat("/proc/thread-self")
    except OSError:
        return now
    return now - waited / 1e9
