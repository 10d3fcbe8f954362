"""Starting processes that lack capabilities, even as root."""

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# As in include/uapi/linux/capability.h.
ALL = range(64)
# Who has one of these may read any process's memory, whatever else forbids it (since Linux 6.13).
OBSERVERS = (SYS_ADMIN, PERFMON) = (21, 38)

_PR_CAPBSET_DROP = 24


def without(capabilities: Iterable[int], start: Callable[[], T]) -> T:
    """Call something that starts processes; they lack these capabilities, and can't get them.

    They belong to a thread, and a process has those of the thread that started it (capabilities(7),
    prctl(2)).
    """

    def drop_and_start() -> T:
        libc = ctypes.CDLL(None)
        for capability in capabilities:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        return start()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(drop_and_start).result()
