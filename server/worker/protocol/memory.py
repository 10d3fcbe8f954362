"""A bound on the memory that a client's bytes may take while they are unpacked."""

import mmap
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

_one = threading.Lock()


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """Have allocations fail that would take more than `more` bytes beyond what the process has.
    One thread at a time; what other threads take meanwhile counts as well.

    What starts threads inside may end the process instead of failing.

    Raises:
        MemoryError: from what allocates inside.
    """
    with _one:
        yield from _limited(more)


def _limited(more: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _size() + more
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    # Arrow's own allocator has reserved a gigabyte ahead, which the limit would not count.
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        pa.set_memory_pool(pool)


def _size() -> int:
    pages, *_ = Path("/proc/self/statm").read_text().split()
    return int(pages) * mmap.PAGESIZE
