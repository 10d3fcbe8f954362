"""Keeping a process from others of the same user."""

import ctypes

_PR_SET_DUMPABLE = 4


def hide_process() -> None:
    """Keep this process's memory and its first environment from its own user's processes, those of
    models among them; and what is forked from it, but not what programs it starts.

    The kernel shows what a process was started with even when a variable has been removed since
    (prctl(2), PR_SET_DUMPABLE; proc(5)). There are no core dumps of it either, which would hold
    requests.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
