"""How many cores this process may use."""

import math
import os
from pathlib import Path

from server.worker.threads import (
    CORE_VARIABLES,
    POOL_VARIABLES,
    THREAD_VARIABLES,
    first_number,
)

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
    """What all that `server.worker.threads` names is to be in each of so many workers: its share
    of the cores. What the user has set stays, and the others follow OMP_NUM_THREADS, as OpenBLAS
    and MKL do by themselves; where that is not set, but another of `THREAD_VARIABLES`, they are 1.
    """
    share = str(max(1, available_cores() // workers))
    chosen = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    default = chosen.get("OMP_NUM_THREADS", "1") if chosen else share
    size = str(first_number(default) or share)
    others = {name: os.environ.get(name, size) for name in POOL_VARIABLES + CORE_VARIABLES}
    return {**dict.fromkeys(THREAD_VARIABLES, default), **chosen, **others}
