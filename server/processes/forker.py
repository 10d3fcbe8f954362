"""The gateway's end of a process that forks on request; the other is `server.worker.forking`."""

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from server.processes.child import Child, watch
from server.worker.descendants import stat_of
from server.worker.forking import LONGEST_PACKET

# Forking takes milliseconds, and on a machine that has much else to do, seconds.
_FORK_SECONDS = 10.0
# Seconds between looks whether a process was stopped.
LOOK_SECONDS = 0.5


class ForkFailed(OSError):
    """The process has ended, was stopped, or talks nonsense; it forks nothing any more."""


class Unfit(Exception):
    """The process says that it must not fork."""


_Code: TypeAlias = "asyncio.Future[int | None]"
# The process's number, a descriptor of it, and how it will have ended.
_Answer: TypeAlias = tuple[int, int, _Code]


@dataclass(frozen=True, slots=True)
class Forked:
    """A new process.

    Attributes:
        child: The process.
        channel: This end of its socket pair.
        forks: The channel by which it forks in turn, if it was asked for.
    """

    child: Child
    channel: socket.socket
    forks: socket.socket | None


class Forker:
    """Asks one process to fork.

    Args:
        pid: The process.
        channel: This end of its channel.
        family: The numbers of all processes that are spoken to: each child's is put in and, when
            that has ended, taken out again.
        on_lost: Called once when it can't be asked any more, unless it was closed.

    Attributes:
        ready: Done with what it says when it is ready, if it says so.
    """

    def __init__(
        self, pid: int, channel: socket.socket, family: set[int], on_lost: Callable[[], None]
    ) -> None:
        self._pid = pid
        self._channel = channel
        self._family = family
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[list[int]] = self._loop.create_future()
        self._lost = False
        self._turn = asyncio.Lock()
        self._asked = 0
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        self._codes: dict[int, asyncio.Future[int | None]] = {}
        channel.setblocking(False)
        self._loop.add_reader(channel, self._read)

    @property
    def was_ready(self) -> bool:
        """Whether it has said so."""
        ready = self.ready
        return ready.done() and not ready.cancelled() and ready.exception() is None

    async def wait_ready(self, seconds: float) -> None:
        """Wait until it says that it is ready, or is lost.

        Raises:
            ForkFailed: it was stopped, or is not ready in time; it must be ended then.
            Unfit: it must not fork, and says why.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._wait_for(self.ready)
        except TimeoutError:
            self.lose()
            raise ForkFailed("it does not become ready") from None
        if not self.ready.cancelled():
            self.ready.result()

    async def fork(
        self, name: str, target: str, output: int | None = None, *, forks: bool = False
    ) -> Forked:
        """Have it fork a process.

        Args:
            name: What `ps` shows.
            target: What the process runs, as `MODULE:FUNCTION`; gets the descriptors.
            output: A descriptor for what it prints.
            forks: Whether it is to fork in turn.

        Raises:
            ForkFailed: it has ended, was stopped, or does not answer; it must be ended then.
            OSError: the machine has no room for another process.
        """
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as theirs:
            channel, remote = socket.socketpair()
            undo.callback(channel.close)
            theirs.callback(remote.close)
            descriptors = [remote.fileno(), *([] if output is None else [output])]
            forker = None
            if forks:
                forker, remote_forks = socket.socketpair(type=socket.SOCK_SEQPACKET)
                undo.callback(forker.close)
                theirs.callback(remote_forks.close)
                descriptors.append(remote_forks.fileno())
            pid, descriptor, code = await self._ask(name, target, descriptors)
            child = watch(pid, self._family, descriptor, code)
            undo.pop_all()
            return Forked(child, channel, forker)

    def close(self) -> None:
        """Ask no more; it ends."""
        if not self._lost:
            self._end()

    def lose(self) -> None:
        """Take it for lost: it can't fork what is needed any more."""
        if not self._lost:
            self._end()
            self._on_lost()

    async def _ask(self, name: str, target: str, descriptors: Sequence[int]) -> _Answer:
        # One at a time, as it forks: each has its time from when it is its turn.
        async with self._turn:
            if self._lost:
                raise ForkFailed("it has ended")
            self._asked += 1
            number = self._asked
            self._answers[number] = answer = self._loop.create_future()
            request = {"fork": number, "name": name, "target": target}
            try:
                socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
                async with asyncio.timeout(_FORK_SECONDS):
                    await self._wait_for(answer)
            except (TimeoutError, BlockingIOError):
                self.lose()
                raise ForkFailed("it does not answer") from None
            except (BrokenPipeError, ConnectionResetError):
                self.lose()
                raise ForkFailed("it has ended") from None
            else:
                # What the machine refused with, EAGAIN say, is none of these.
                return self._answers.pop(number).result()
            finally:
                # Of a process that nobody waits for any more.
                if self._answers.pop(number, None) and answer.done() and answer.exception() is None:
                    os.close(answer.result()[1])

    async def _wait_for(self, answer: "asyncio.Future[Any]") -> None:
        while not answer.done():
            await asyncio.wait([answer], timeout=LOOK_SECONDS)
            if not answer.done() and is_stopped(self._pid):
                raise TimeoutError

    def _read(self) -> None:
        try:
            while True:
                packet, descriptors, _, _ = socket.recv_fds(
                    self._channel, LONGEST_PACKET, 1, socket.MSG_CMSG_CLOEXEC
                )
                try:
                    # An empty one is the end, and no JSON.
                    self._handle(json.loads(packet), descriptors)
                finally:
                    # What nobody has taken. Of a child that nobody waits for, whoever asked closes
                    # the other ends, and so it ends by itself.
                    for descriptor in descriptors:
                        os.close(descriptor)
        except BlockingIOError:
            return
        except (OSError, ValueError, LookupError, TypeError):
            # It has ended; or a model's code has run there, and may have written anything.
            self.lose()

    def _handle(self, message: dict[str, Any], descriptors: list[int]) -> None:
        """Note what it says, and take out of the descriptors what is kept."""
        match message:
            case {"fork": int(number), "pid": int(pid)} if pid > 1:
                if (answer := self._waiting(number)) is None:
                    return
                if not descriptors:
                    answer.set_exception(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
                    return
                self._codes[pid] = self._loop.create_future()
                answer.set_result((pid, descriptors.pop(), self._codes[pid]))
            case {"fork": int(number), "errno": int(code)}:
                if (answer := self._waiting(number)) is not None:
                    answer.set_exception(OSError(code, os.strerror(code)))
            case {"exited": int(pid), "code": int() | None as exit_code}:
                if (told := self._codes.pop(pid, None)) is not None and not told.done():
                    told.set_result(exit_code)
            case {"ready": list(children)} if not self.ready.done():
                self.ready.set_result([int(pid) for pid in children])
            case {"unfit": str(reason)} if not self.ready.done():
                self.ready.set_exception(Unfit(reason))
                # Retrieved here: nobody may wait for it any more.
                self.ready.exception()
            case _:
                raise ValueError("not what is said here")

    def _waiting(self, number: int) -> "asyncio.Future[_Answer] | None":
        answer = self._answers.get(number)
        return answer if answer is not None and not answer.done() else None

    def _end(self) -> None:
        self._lost = True
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ForkFailed("it has ended"))
        for code in self._codes.values():
            if not code.done():
                code.set_result(None)
        if not self.ready.done():
            self.ready.cancel()


def is_stopped(pid: int) -> bool:
    """Whether a process has been told to stop, as by SIGSTOP (`State` in proc(5))."""
    try:
        _, (state, *_) = stat_of(pid)
    except OSError:
        return False
    return state in "Tt"
