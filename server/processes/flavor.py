"""A process that has imported what models of a flavor need, beside the environment process."""

import asyncio
import json
from typing import Protocol

import structlog

from server.processes.child import Child
from server.processes.forker import Forked, Forker, ForkFailed, Unfit
from server.processes.model_process import Source
from server.processes.supervised import Supervised
from server.worker.alias import NAME

_TARGET = f"{NAME}.flavor_environment:run"

log = structlog.get_logger("server.processes.flavor")


class Base(Source, Protocol):
    """The environment process.

    Attributes:
        family: See `server.processes.environment.Environment`.
    """

    family: set[int]


class Flavor(Supervised):
    """Forks processes that find some modules imported. Where that can't be had, they come from the
    environment process, and find none.

    Args:
        base: What its process comes from.
        modules: What that imports.
        unfit: Sets of modules that are known to leave a process unfit to be forked.
        log_level: What is logged in all that comes from it.
        nice: Whether others serve that importing must not disturb.

    Attributes:
        modules: What its process imports.
        users: How many releases may need it.
    """

    def __init__(
        self,
        base: Base,
        modules: tuple[str, ...],
        unfit: set[tuple[str, ...]],
        log_level: str,
        *,
        nice: bool,
    ) -> None:
        super().__init__(modules=modules)
        self.modules = modules
        self.users = 0
        self._base = base
        self._unfit = unfit
        self._log_level = log_level
        self._nice = nice
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process's number, if it runs."""
        return self._child.pid if self._child else None

    async def fork(
        self, name: str, target: str, output: int | None = None, *, forks: bool = False
    ) -> Forked:
        """Fork a process, see `Forker.fork`.

        Raises:
            ForkFailed: the environment process can't either.
            OSError: the machine has no room for another process.
        """
        if self.modules not in self._unfit:
            try:
                return await super().fork(name, target, output, forks=forks)
            except Unfit as error:
                self._unfit.add(self.modules)
                self._tell_of_failure(error)
                await self.stop()
            except ForkFailed as error:
                # Which is no failure where a release that retires has left it.
                if not self._stopped:
                    self._tell_of_failure(error)
        return await self._base.fork(name, target, output, forks=forks)

    def end_orphans(self) -> None:
        """See `server.processes.environment.Environment.end_orphans`."""
        self._base.end_orphans()

    async def _begin(self) -> Forker:
        forked = await self._base.fork("flavor", _TARGET, forks=True)
        assert forked.forks is not None
        self._child = child = forked.child
        with forked.channel:
            told = {"modules": self.modules, "nice": self._nice, "log_level": self._log_level}
            forked.channel.sendall(json.dumps(told).encode())
        # What comes from this one may serve by the time that another is started in its place.
        self._nice = True
        forker = Forker(child.pid, forked.forks, self._base.family, lambda: self._lost(forker))
        started = asyncio.get_running_loop().time()
        forker.ready.add_done_callback(lambda _: self._note_ready(forker, started))
        return forker

    def _note_ready(self, forker: Forker, started: float) -> None:
        if forker.was_ready:
            seconds = round(asyncio.get_running_loop().time() - started, 3)
            log.debug("flavor_preloaded", pid=self.pid, modules=self.modules, seconds=seconds)

    def _tell_of_failure(self, error: Exception) -> None:
        log.info("flavor_not_preloaded", modules=self.modules, error=str(error))

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    async def _collect(self) -> None:
        if self._child is not None:
            self._child.kill()
            await self._child.ended
            self._child = None
            # Of what it had forked, ended ones among them, it is nobody's parent any more.
            await asyncio.to_thread(self._base.end_orphans)
