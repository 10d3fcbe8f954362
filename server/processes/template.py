"""The process of a release that has loaded the version and forks its workers."""

from collections.abc import Callable

from server.processes.environment import Environment
from server.processes.forker import Forked, Forker
from server.processes.model_process import ModelProcess


class Template:
    """Forks workers.

    Args:
        process: The process, which is ready.
        environment: Where it comes from.
        on_lost: Called once when it can fork no more, unless it was stopped.
    """

    def __init__(
        self, process: ModelProcess, environment: Environment, on_lost: Callable[[], None]
    ) -> None:
        assert process.forks is not None
        process.is_template = True
        self._process = process
        self._environment = environment
        self._on_lost = on_lost
        self._forker = Forker(process.pid, process.forks, environment.family, self._lose)
        process.forks = None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def fork(
        self, name: str, target: str, output: int | None = None, *, forks: bool = False
    ) -> Forked:
        """See `Forker.fork`."""
        return await self._forker.fork(name, target, output, forks=forks)

    def end_orphans(self) -> None:
        """See `Environment.end_orphans`."""
        self._environment.end_orphans()

    async def stop(self) -> None:
        """End it; its workers live on."""
        self._forker.close()
        await self._process.stop()

    def give_up(self) -> None:
        """End it, as if it were lost."""
        self._forker.lose()

    async def wait_ended(self) -> None:
        """Wait until it has ended without being told to, and the log says how."""
        await self._process.wait_ended()

    def _lose(self) -> None:
        # It may only have been stopped.
        self._process.kill()
        self._on_lost()
