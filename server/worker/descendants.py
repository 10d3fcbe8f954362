"""Ending what a process has started, in whatever group or session it runs."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS = 1.0
_PAUSE_SECONDS = 0.005


def become_reaper() -> None:
    """Have descendants whose parent has ended become this process's children.

    Without it they become the children of the system's first process, and nothing tells any more
    who started them.
    """
    _reap(1)


def leave_orphans() -> None:
    """Have them become children of whoever reaps above this process, again."""
    _reap(0)


def _reap(whether: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, whether, 0, 0, 0)


def end_children(keep: Collection[int] = ()) -> None:
    """Kill and reap this process's children; in a reaper, all descendants of those as well.

    Blocks until none is left, for a second at most.

    Args:
        keep: Process ids of children to leave alone.
    """
    deadline = time.monotonic() + _SECONDS
    # Again and again: the children of one that has ended are this process's next.
    while pids := [child.pid for child in children() if child.pid not in keep]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return
        time.sleep(_PAUSE_SECONDS)


def stat_of(pid: int) -> tuple[str, list[str]]:
    """Name of a process, and what /proc/PID/stat says after it: state, parent … (proc(5)).

    Raises:
        OSError: there is no such process.
    """
    # The name, in parentheses, may hold anything.
    head, _, fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    return head.partition("(")[2], fields.split()


class Child(NamedTuple):
    """One of this process's children.

    Attributes:
        pid: Its process id.
        name: What it runs, in at most 15 characters (/proc/PID/comm).
        state: A letter, of proc(5): "Z" for one that has ended and was not waited for.
    """

    pid: int
    name: str
    state: str


def children() -> Iterator[Child]:
    """This process's children, zombies included."""
    # Not every kernel has /proc/PID/task/*/children.
    parent = str(os.getpid())
    for pid in [int(name) for name in os.listdir("/proc") if name.isdecimal()]:  # noqa: PTH208
        with contextlib.suppress(OSError):
            name, (state, its_parent, *_) = stat_of(pid)
            if its_parent == parent:
                yield Child(pid, name, state)


def descendants() -> set[int]:
    """Process ids of this process's children, of theirs, and so on; zombies included."""
    try:
        return _below(os.getpid())
    except FileNotFoundError:
        return _below_by_parents(os.getpid())


def _below(pid: int) -> set[int]:
    """See `descendants`.

    Raises:
        FileNotFoundError: this kernel has no /proc/PID/task/*/children.
    """
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            found.update(map(int, (thread / "children").read_bytes().split()))
    for child in [*found]:
        with contextlib.suppress(FileNotFoundError):
            found |= _below(child)
    return found


def _below_by_parents(pid: int) -> set[int]:
    parents = {}
    for one in [int(name) for name in os.listdir("/proc") if name.isdecimal()]:  # noqa: PTH208
        with contextlib.suppress(OSError):
            parents[one] = int(stat_of(one)[1][1])
    found: set[int] = set()
    last = {pid}
    while last := {child for child, parent in parents.items() if parent in last} - found:
        found |= last
    return found
