"""Ending what a process has started, in whatever group or session it runs."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS = 1.0
_PAUSE_SECONDS = 0.005


def become_reaper() -> None:
    """Have descendants whose parent has ended become this process's children, for good.

    Without it they become the children of the system's first process, and nothing tells any more
    who started them.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_children(keep: Collection[int] = ()) -> None:
    """Kill and reap this process's children; in a reaper, all descendants of those as well.

    Blocks until none is left, for a second at most.

    Args:
        keep: Process ids of children to leave alone.
    """
    deadline = time.monotonic() + _SECONDS
    # Again and again: the children of one that has ended are this process's next.
    while children := [pid for pid in _children() if pid not in keep]:
        for pid in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_SECONDS)


def _children() -> Iterator[int]:
    # Not every kernel has /proc/PID/task/*/children.
    parent = str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything; state and parent come after it.
            _, _, fields = path.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if fields.split(maxsplit=2)[1:2] == [parent]:
            yield int(path.parent.name)
