"""How much memory this process may use, and that it gives back what it does not use any more."""

import ctypes
import os
from pathlib import Path

# Of control groups version 2 and 1, as a container sees its own: bytes, or `max`; version 1 says a
# number beyond all memory where there is no limit (https://docs.kernel.org/admin-guide/cgroup-v2.html).
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

# mallopt(3), and malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1024 * 1024


def give_back_large_blocks() -> None:
    """Have large blocks of memory be mapped each by itself, as long as this process runs.

    By default the GNU C library comes to take those of up to 32 MiB from the heap, where they leave
    gaps between them that nobody else can use. Other libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE)


def available_memory() -> int:
    """Bytes that the machine has, or that the container's limit leaves of them."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in _LIMITS:
        try:
            return min(memory, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return memory
