"""Landlock by its system calls: rights that a thread gives up, for itself and what it starts.

The numbers are those of include/uapi/linux/landlock.h and include/uapi/asm-generic/unistd.h; what
they mean stands in landlock(7) and in Documentation/userspace-api/landlock.rst.
"""

import ctypes
import enum
import os
import stat
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38


class Files(enum.IntFlag):
    """LANDLOCK_ACCESS_FS_…: what changes files and folders. `REFER` is to move or link from one
    folder to another: ABI 2 can allow it, ABI 1 forbids it to all. `TRUNCATE` is known from ABI 3
    on, and before it nothing keeps a file from being cut short."""

    WRITE_FILE = 1 << 1
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14


_OF_A_FILE = Files.WRITE_FILE | Files.TRUNCATE


class Scopes(enum.IntFlag):
    """LANDLOCK_SCOPE_…, known from ABI 6 on: what does not reach processes outside."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneathAttributes(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def abi() -> int:
    """The version of Landlock that this kernel has; 0 where it has none, or must not be asked."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(0, int(version))


def restrict(files: Files, scopes: Scopes, writable: Iterable[str]) -> None:
    """Have the calling thread give up rights for good, beside those that it has given up before.

    Threads that there are already keep theirs. Whatever is given up, this thread and what it starts
    can trace, or look into the memory of, no process that has not given up the same. Programs that
    it starts get no privileges either (`no_new_privs` in prctl(2)).

    Args:
        files: What is allowed no more; this kernel must know it.
        scopes: The same for other processes.
        writable: Files and folders, with all below them, for which `files` stays allowed. What is
            not there is passed over.

    Raises:
        OSError: the kernel will not: sixteen times is the most, for one.
    """
    attributes = _RulesetAttributes(handled_access_fs=files, scoped=scopes)
    # What is zero behind that which the kernel knows does not matter to it.
    ruleset = _call(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0
    )
    try:
        for path in writable:
            _allow(ruleset, files, path)
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, files: Files, path: str) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # Where this process does not even get to, it can write nothing.
        return
    try:
        folder = stat.S_ISDIR(os.fstat(parent).st_mode)
        allowed = files if folder else files & _OF_A_FILE
        rule = _PathBeneathAttributes(allowed_access=allowed, parent_fd=parent)
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    return _check(_libc.syscall(number, *arguments))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
