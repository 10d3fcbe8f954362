"""A process that forks others, and is started anew when it is lost."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

import structlog

from server.processes.forker import Forked, Forker, ForkFailed

# Importing takes seconds, and longer on a machine that has much else to do.
_START_SECONDS = 120.0
_ATTEMPTS = 2
# One that ends so soon after another is started anew after a pause.
_LATELY_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 30.0

log = structlog.get_logger("server.processes.supervised")


class Supervised(ABC):
    """Starts a process that forks on request, and starts it anew when it has ended or was stopped.
    What it has forked lives on then.

    Args:
        described: What the log says of it beside its number.
    """

    def __init__(self, **described: Any) -> None:
        self._described = described
        self._turn = asyncio.Lock()
        self._forker: Forker | None = None
        self._stopped = False
        self._restarting: asyncio.Task[None] | None = None
        self._lost_at = float("-inf")
        self._pause = 0.0

    @property
    @abstractmethod
    def pid(self) -> int | None:
        """The process's number, if it runs."""

    async def start(self) -> None:
        """Start it, unless it runs; it goes on importing for a while.

        Raises:
            OSError: the machine would not start it.
        """
        await self._running()

    async def fork(
        self, name: str, target: str, output: int | None = None, *, forks: bool = False
    ) -> Forked:
        """Have it fork a process, see `Forker.fork`.

        Raises:
            ForkFailed: neither this process nor the one started in its place does.
            OSError: the machine has no room for another process.
        """
        for _ in range(_ATTEMPTS):
            forker = await self._running()
            try:
                await forker.wait_ready(_START_SECONDS)
                return await forker.fork(name, target, output, forks=forks)
            except ForkFailed as error:
                failed = error
                self._lost(forker)
        raise ForkFailed(f"the environment process fails: {failed}")

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._stopped = True
        self._restart_no_more()
        async with self._turn:
            forker, self._forker = self._forker, None
            if forker is not None:
                forker.close()
            await self._collect()

    @abstractmethod
    async def _begin(self) -> Forker:
        """Start the process; `_lost` is to be told of its loss."""

    @abstractmethod
    def _kill(self) -> None:
        """End the process, which was started, at once."""

    @abstractmethod
    async def _collect(self) -> None:
        """End the process, if there is one, and wait until it has ended."""

    async def _running(self) -> Forker:
        # Whoever is cancelled here leaves it to start: that can't be stopped half-way.
        starting = asyncio.get_running_loop().create_task(self._start())
        # Retrieved here, where nobody may wait for it any more.
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(starting)

    async def _start(self) -> Forker:
        async with self._turn:
            if self._stopped:
                raise ForkFailed("it was stopped")
            if self._forker is None:
                await self._collect()
                self._forker = await self._begin()
            return self._forker

    def _lost(self, forker: Forker) -> None:
        """Start it anew, unless it was about to end or would not even start."""
        forker.close()
        if self._stopped or forker is not self._forker:
            return
        self._forker = None
        log.warning("environment_lost", pid=self.pid, **self._described)
        self._kill()
        if forker.was_ready:
            self._restart_no_more()
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    def _restart_no_more(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()

    async def _restart(self) -> None:
        now = asyncio.get_running_loop().time()
        lately = now - self._lost_at < _LATELY_SECONDS
        self._lost_at = now
        self._pause = min(_LONGEST_PAUSE_SECONDS, 2 * self._pause or 1.0) if lately else 0.0
        # Whoever needs it meanwhile starts it at once.
        await asyncio.sleep(self._pause)
        try:
            await self._running()
        except OSError as error:
            # Whoever needs it next tries again.
            log.warning("environment_not_replaced", error=str(error), **self._described)
