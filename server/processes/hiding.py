"""Keeping the environment that a process was started with from others of the same user."""

import ctypes

_PR_SET_DUMPABLE = 4


def hide_process() -> None:
    """Make this process's memory and /proc/PID/environ unreadable for its own user's processes.

    The kernel keeps the first environment for reading even when a variable has been removed, and a
    model's worker runs as the same user (prctl(2), PR_SET_DUMPABLE; proc(5)).
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
