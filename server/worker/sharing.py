"""Deciding by looking whether a process that has loaded a model may be forked.

A fork has one thread, the one that forked: the others, and the locks they hold, are lost to it.
Descriptors it shares, with their offsets and with whoever is at the other end; children and timers
stay its parent's; and memory that is mapped as shared stays one for all.
"""

import contextlib
import gc
import os
import re
import signal
import stat
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .descendants import children

# What ends by itself, such as a joined thread, or what a closed pool leaves, gets this long.
_GRACE_SECONDS = 0.2
_PAUSE_SECONDS = 0.005

_MOST_FINDINGS = 5
_MOST_CHARACTERS = 60

# Device numbers of /dev/null, zero and full (Linux, devices.txt): no state, as long as no buffer
# holds what was read, which matters with /dev/random and urandom.
_STATELESS = {os.makedev(1, minor) for minor in (3, 5, 7)}
# One of /proc/self/maps (proc(5)), in full, that is shared and can be written to.
_SHARED_AND_WRITABLE = re.compile(rb"^\S+ .w.s .*$", re.MULTILINE)
# Every kind of child, also one that doesn't end with SIGCHLD (wait(2)).
_WALL = 0x40000000

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_UNKNOWN = "the system does not show what the model holds"

_Identity: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class Footprint:
    """What a process holds that a fork would share or lose.

    Attributes:
        descriptors: What each open descriptor refers to.
        children: Process ids of its children, those that have ended but were not waited for
            left out.
        mappings: Lines of /proc/self/maps, those of memory that is shared and can be written to.
        unknown: Whether the system would not show all of this.
    """

    descriptors: dict[int, _Identity]
    children: frozenset[int]
    mappings: frozenset[bytes]
    unknown: bool = False


def look() -> Footprint:
    """What this process holds now. Costs a millisecond or two, and leaves nothing open."""
    try:
        return Footprint(
            {number: identity for number, identity, _ in _descriptors()},
            frozenset(pid for pid, _ in _living_children()),
            frozenset(_writable_mappings()),
        )
    except OSError:
        return Footprint({}, frozenset(), frozenset(), unknown=True)


def what_forbids_forking(
    before: Footprint, *, threads: Collection[int], who: str = "the model"
) -> str | None:
    """Why this process, which has loaded a model, must not be forked; None where it may be.

    What is garbage does not count, nor what ends by itself within 0.2 s: only where something is
    found does that cost the time.

    Args:
        before: What it held before.
        threads: Native ids of its own threads.
        who: Who may hold something, for the sentence.

    Returns:
        A sentence for users that says what is held, without paths.
    """
    if before.unknown:
        return _UNKNOWN
    try:
        if not (found := [*_running(before, threads), *_held(before)]):
            return None
        gc.collect()
        deadline = time.monotonic() + _GRACE_SECONDS
        while [*_running(before, threads)] and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        found = [*_running(before, threads), *_held(before)]
    except OSError:
        return _UNKNOWN
    return _sentence([f"{who} {what}" for what in dict.fromkeys(found)])


def _sentence(found: list[str]) -> str | None:
    if len(found) > _MOST_FINDINGS:
        found[_MOST_FINDINGS:] = [f"and {len(found) - _MOST_FINDINGS} more"]
    return "; ".join(found) or None


def _running(before: Footprint, threads: Collection[int]) -> Iterator[str]:
    yield from _describe_threads(threads)
    for pid, name in _living_children():
        if pid not in before.children:
            yield _with_name("has started a process", name)


def _held(before: Footprint) -> Iterator[str]:
    for number, identity, kind in _descriptors():
        if before.descriptors.get(number) != identity:
            yield f"holds an open {kind}"
    if not all(map(_is_open, before.descriptors)):
        # What a fork is handed would take the numbers, such as that of standard output.
        yield "has closed what it had not opened"
    if not before.mappings.issuperset(_writable_mappings()):
        yield "shares memory that can be written to"
    if any(signal.getitimer(which)[0] for which in _TIMERS):
        yield "has set a timer"


def _describe_threads(own: Collection[int]) -> Iterator[str]:
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    # A thread that nobody has named has its process's name.
    process = _comm("self")
    for task in os.listdir("/proc/self/task"):  # noqa: PTH208 - names only
        if int(task) in own:
            continue
        try:
            name = known.get(int(task)) or _comm(f"self/task/{task}")
        except OSError:  # it has ended
            continue
        yield _with_name("has started a thread", "" if name == process else name)


def _comm(task: str) -> str:
    return Path("/proc", task, "comm").read_text(errors="replace").rstrip("\n")


def _descriptors() -> Iterator[tuple[int, _Identity, str]]:
    """Number, what it refers to, and the kind of thing, for users."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only
        # That of the list itself is closed by now.
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115 - it need not be a path
            status = Path("/proc/self/fd", name).stat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev in _STATELESS:
                continue
            # Descriptors of a kind such as eventfd all have the same inode.
            more = "" if target.startswith("/") else _id_of_eventfd(name)
            identity = (target, status.st_dev, status.st_ino, status.st_rdev, more)
            yield int(name), identity, _kind(target, status.st_mode)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _id_of_eventfd(name: str) -> str:
    try:
        lines = Path("/proc/self/fdinfo", name).read_text().splitlines()
    except PermissionError:
        # Before Linux 5.14 it is the owner's to read, which for a hidden process is root.
        return ""
    return next((line for line in lines if line.startswith("eventfd-id")), "")


def _kind(target: str, mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISFIFO(mode):
        return "pipe"
    if not target.startswith("/"):  # such as anon_inode:[eventpoll], anon_inode:inotify
        return _with_name("descriptor", target.partition(":")[2].strip("[]"))
    kind = "device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "file"
    kind = "folder" if stat.S_ISDIR(mode) else kind
    return _with_name(kind, target.removesuffix(" (deleted)"))


def _living_children() -> Iterator[tuple[int, str]]:
    """Process id and name of each child that has not ended."""
    try:
        # Far cheaper than to look through all processes; zombies are left to whoever waits.
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _WALL)
    except ChildProcessError:
        return
    found = list(children())
    for child in found:
        if child.state not in "ZX":
            yield child.pid, child.name
    if not found:  # not shown: another user's, with /proc mounted so
        yield 0, ""


def _writable_mappings() -> list[bytes]:
    return _SHARED_AND_WRITABLE.findall(Path("/proc/self/maps").read_bytes())


def _with_name(what: str, name: str) -> str:
    """`what: name`, of a path the last part, and nothing that could upset a log or a terminal."""
    name = name.rpartition("/")[2].strip()
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    if len(name) > _MOST_CHARACTERS:
        name = f"{name[:_MOST_CHARACTERS]}…"
    return f"{what}: {name}" if name else what
