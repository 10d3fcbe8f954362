"""A process that was forked on request, as the gateway knows it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

# What the parent gets to say how it ended: it may have been stopped.
_CODE_SECONDS = 1.0


class Child:
    """A process that another one has forked.

    Args:
        pid: Its number.
        descriptor: Refers to it, see pidfd_open(2). Closed once it has ended.
        code: Brings what its parent says of its end.

    Attributes:
        ended: Done as soon as it has ended, whoever its parent is by then.
    """

    def __init__(self, pid: int, descriptor: int, code: "asyncio.Future[int | None]") -> None:
        self.pid = pid
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._descriptor = descriptor
        self._code = code
        self._own: int | None = None
        self._on_end: Callable[[], None] = lambda: None
        asyncio.get_running_loop().add_reader(descriptor, self._note_end)

    def when_ended(self, call: Callable[[], None]) -> None:
        """Have this called once, as soon as it has ended."""
        if self.ended.done():
            call()
        else:
            self._on_end = call

    async def exit_code(self) -> int | None:
        """Wait until it has ended. Return its exit code, or the number of a signal below zero; None
        where its parent ended before it could say."""
        await self.ended
        if self._own is not None:
            return self._own
        try:
            async with asyncio.timeout(_CODE_SECONDS):
                return await asyncio.shield(self._code)
        except TimeoutError:
            return None

    def kill(self) -> None:
        """End it, and what it has started in its process group, at once."""
        if self.ended.done():
            return
        self.end_group()
        # The group exists only once the process has begun to run.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def end_group(self) -> None:
        """End what it has started in its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        # Where its parent has ended before, it is this process's child, which is asked to collect.
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
            if ended is not None:
                exited = ended.si_code == os.CLD_EXITED
                self._own = ended.si_status if exited else -ended.si_status
        os.close(self._descriptor)
        self.ended.set_result(None)
        self._on_end()


def watch(pid: int, family: set[int], descriptor: int, code: "asyncio.Future[int | None]") -> Child:
    """A process whose number is in `family` until it has ended; see `Child` for the others."""
    child = Child(pid, descriptor, code)
    family.add(pid)
    child.ended.add_done_callback(lambda _: family.discard(pid))
    return child
