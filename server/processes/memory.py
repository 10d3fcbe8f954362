"""How much memory this process may use."""

import os
from pathlib import Path

# Of control groups version 2 and 1, as a container sees its own: bytes, or `max`; version 1 says a
# number beyond all memory where there is no limit (https://docs.kernel.org/admin-guide/cgroup-v2.html).
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int:
    """Bytes that the machine has, or that the container's limit leaves of them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _LIMITS:
        try:
            return min(memory, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return memory
