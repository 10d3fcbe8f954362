"""Forking on request: the end of the process that has something ready.

Its other end is `server.processes.forker`. They exchange one JSON object a packet over a pair of
sockets of the type SOCK_SEQPACKET, which keeps packets apart, and pass descriptors along
(SCM_RIGHTS, see unix(7))::

    {"fork": NUMBER, "name": …, "target": …}   and the child's descriptors
    {"fork": NUMBER, "pid": …}                 and a descriptor of the child, see pidfd_open(2)
    {"fork": NUMBER, "errno": …}               the machine would not fork
    {"exited": PID, "code": …}                 below zero: the number of the signal that ended it;
                                               null where nobody can tell
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from multiprocessing import util
from typing import NoReturn, TypeAlias

LONGEST_PACKET = 64 * 1024
MOST_DESCRIPTORS = 8

# What the gateway answers for the processes below it; blocked in each from the first instant.
COORDINATED = (signal.SIGINT, signal.SIGTERM)

_PR_SET_NAME = 15

Run: TypeAlias = Callable[[str, list[int]], None]
"""What a child does: gets the target's name and the descriptors that came with the request."""


class ForkLoop:
    """Forks whenever it is asked to, and tells how its children ended.

    Args:
        channel: This process's end of the socket pair.
        run: What children do.
        close: Closes what this process holds and children must not have, in each child: an end
            that lives on in a sibling is never seen as closed.
    """

    def __init__(
        self, channel: socket.socket, run: Run, close: Callable[[], None] = lambda: None
    ) -> None:
        self._channel = channel
        self._run = run
        self._close = close
        # By their descriptors.
        self._children: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def run(self) -> None:
        """Fork until the other end of the channel is closed.

        Whatever runs in this process besides the calling thread must be known to hold no lock.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                ready = [descriptor for descriptor, _ in self._poll.poll()]
                # How one has ended is said before another one takes its place.
                for descriptor in ready:
                    if descriptor in self._children:
                        self._tell_exit(descriptor)
                if self._channel.fileno() in ready and not self._answer():
                    return

    def _answer(self) -> bool:
        """Answer a request; False if there will be no more."""
        packet, descriptors, _, _ = socket.recv_fds(
            self._channel, LONGEST_PACKET, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not packet:
            return False
        request = json.loads(packet)
        try:
            pid = self._fork(request, descriptors)
            # It is not collected before `_tell_exit`: this is no other process of the same number.
            child = _refer_to(pid)
        except OSError as error:
            self._say({"fork": request["fork"], "errno": error.errno})
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._children[child] = pid
        self._poll.register(child, select.POLLIN)
        self._say({"fork": request["fork"], "pid": pid}, [child])
        return True

    def _fork(self, request: dict[str, str], descriptors: list[int]) -> int:
        _flush()
        with warnings.catch_warnings():
            # Python 3.12 warns where there is another thread, whatever that does.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._be_child(request["name"], request["target"], descriptors)
        return pid

    def _be_child(self, name: str, target: str, descriptors: list[int]) -> NoReturn:
        code = 1
        try:
            for descriptor in self._children:
                os.close(descriptor)
            self._channel.close()
            self._close()
            # As `multiprocessing` does: Python leaves it what it was in the parent.
            threading.current_thread()._set_native_id()  # type: ignore[attr-defined]
            name_process(name)
            self._run(target, descriptors)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            _end(code)

    def _tell_exit(self, descriptor: int) -> None:
        pid = self._children.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        code = None
        # Where a model ignores SIGCHLD, or waits for whatever ends, that comes first.
        with contextlib.suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._say({"exited": pid, "code": code})

    def _say(self, message: dict[str, int | None], descriptors: Sequence[int] = ()) -> None:
        socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)


def name_process(name: str) -> None:
    """Give this process the name that `ps` and `top` show, of at most 15 characters. For its main
    thread to call."""
    # A model's process may not write to /proc/self/comm.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _refer_to(pid: int) -> int:
    """A descriptor of a child. One that there can be none of is ended: nobody would see its end.

    Raises:
        OSError: there can be none.
    """
    try:
        return os.pidfd_open(pid)
    except OSError:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def _flush() -> None:
    """What is in a buffer when a process forks would be written by each child as well."""
    for stream in (sys.stdout, sys.stderr):
        # A model may have closed it, or put anything in its place.
        with contextlib.suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _end(code: int) -> NoReturn:
    """End as a process of `multiprocessing` does (`BaseProcess._bootstrap`): pools that the model
    has made end in good order, threads that are no daemons are waited for; what this process has
    from its parent is left alone."""
    try:
        util._exit_function()  # type: ignore[attr-defined]
        threading._shutdown()  # type: ignore[attr-defined]
        _flush()
    finally:
        os._exit(code & 0xFF)
