"""How many cores this process may use."""

import math
import os
from pathlib import Path

# Read by BLAS and OpenMP libraries when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
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


def threads_per_worker(workers: int) -> int | None:
    """BLAS and OpenMP threads for each of so many workers; None where the user has set it."""
    if any(name in os.environ for name in THREAD_VARIABLES):
        return None
    return max(1, available_cores() // workers)
