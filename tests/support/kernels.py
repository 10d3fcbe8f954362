"""Starting processes as on a kernel that lacks something."""

import ctypes
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET = 444


class _Instruction(ctypes.Structure):
    """`struct sock_filter` of include/uapi/linux/filter.h."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def without_landlock(start: Callable[[], T]) -> T:
    """Call something that starts processes; for them, there is no such system call (seccomp(2))."""
    instructions = (_Instruction * 4)(
        # The call's number; if it is this one, the next instruction, else the one after that.
        _Instruction(0x20, 0, 0, 0),
        _Instruction(0x15, 0, 1, _LANDLOCK_CREATE_RULESET),
        _Instruction(0x06, 0, 0, 0x00050000 | errno.ENOSYS),
        _Instruction(0x06, 0, 0, 0x7FFF0000),
    )
    program = _Program(len(instructions), instructions)

    def filter_and_start() -> T:
        libc = ctypes.CDLL(None)
        assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
        assert libc.prctl(_PR_SET_SECCOMP, mode, ctypes.byref(program), 0, 0) == 0
        return start()

    # A filter is its thread's, and of the processes that the thread starts.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(filter_and_start).result()
