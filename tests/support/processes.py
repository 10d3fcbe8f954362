"""An environment process for tests that are not asynchronous."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from server.processes.environment import Environment
from server.processes.forker import Forked

T = TypeVar("T")

_PATIENCE_SECONDS = 120.0


class Processes:
    """Has an environment process fork others, in an event loop that runs in a thread.

    Args:
        log: Where it prints to.
        preload: Modules to import ahead.
    """

    def __init__(self, log: Path, preload: tuple[str, ...]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._log = log.open("wb")
        self._environment = self._call(self._make(preload))

    def fork(self, name: str, target: str, output: int, *, forks: bool = False) -> Forked:
        """See `Environment.fork`."""
        return self._call(self._environment.fork(name, target, output, forks=forks))

    def exit_code(self, forked: Forked) -> int | None:
        """Wait until a process has ended, and return its exit code."""
        return self._call(forked.child.exit_code())

    def close(self) -> None:
        """End it."""
        self._call(self._environment.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._log.close()

    async def _make(self, preload: tuple[str, ...]) -> Environment:
        return Environment(self._log.fileno(), preload)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_PATIENCE_SECONDS)
