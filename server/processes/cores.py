"""How many cores this process may use."""

import math
import os
from pathlib import Path

from server.worker.threads import THREAD_VARIABLES

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Cores that the scheduler and the container's quota allow, at least 1.

    The quota is `cpu.max` of control groups version 2: microseconds of CPU time, or `max`, and
    the period in microseconds (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu).
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, math.ceil(int(quota) / int(period))))


def thread_variables(workers: int) -> dict[str, str]:
    """What `THREAD_VARIABLES` are to be in each of so many workers: its share of the cores. Where
    the user has set any of them, that stays, and the others follow OMP_NUM_THREADS, as OpenBLAS
    and MKL do by themselves."""
    chosen = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    share = str(max(1, available_cores() // workers))
    default = chosen.get("OMP_NUM_THREADS", "1") if chosen else share
    return {**dict.fromkeys(THREAD_VARIABLES, default), **chosen}
