"""A worker that is asked one request after another, by whoever waits for the answer."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

from server.errors import LoadFailed
from server.processes.computing import Stopwatch
from server.processes.worker_process import State, WorkerProcess
from server.serving.calls import Call
from server.worker.frames import Answer

StartSpare: TypeAlias = Callable[
    [
        Callable[[WorkerProcess, list[Answer]], None],
        Callable[[WorkerProcess, bool], None],
        Callable[[WorkerProcess], None],
    ],
    Awaitable[WorkerProcess],
]
"""Starts a worker that serves nobody yet, given what `WorkerProcess` calls; raises LoadFailed."""


log = structlog.get_logger("server.serving.spare")


class Failure(enum.Enum):
    """Why there is no answer."""

    DIED = enum.auto()
    HUNG = enum.auto()


class Spare:
    """One such worker.

    Args:
        version: The version that it serves, for the log.

    Attributes:
        fresh: Whether it has not been asked anything yet.
        computing: Whether it computed all the while, where the last request hung.
    """

    def __init__(self, version: str) -> None:
        self.fresh = True
        self.computing = False
        self._version = version
        self._loop = asyncio.get_running_loop()
        self._worker: WorkerProcess | None = None
        self._asked = False
        self._answer: Answer | None = None
        # Set whenever it is done with a request, in whichever way.
        self._settled = asyncio.Event()
        self._gone = asyncio.Event()
        self._killed = False

    async def start(self, start_spare: StartSpare) -> None:
        """Start it.

        Raises:
            LoadFailed: there is none to be had.
        """
        self._worker = await start_spare(self._take_answers, self._batch_done, self._lost)
        if not self.alive:
            raise LoadFailed("start", "it ended as soon as it was ready")

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._worker is not None and self._worker.state is State.IDLE

    async def ask(self, call: Call, seconds: float) -> Answer | Failure:
        """Ask a request.

        Args:
            seconds: How long it may take; then the worker is killed.
        """
        assert self._worker is not None
        self.fresh = False
        self._asked, self._answer = True, None
        self._settled.clear()
        stopwatch = Stopwatch(self._worker.pid, self._loop.time())
        self._worker.send((call.content_type, call.request_id, call.body))
        failure = Failure.DIED
        try:
            async with asyncio.timeout(seconds):
                await self._settled.wait()
        except TimeoutError:
            failure = Failure.HUNG
            self.computing = stopwatch.computing(self._loop.time())
            log.warning("worker_hung", version=self._version, pid=self._worker.pid, requests=1)
            self._killed = True
            self._worker.kill()
        return self._answer or failure

    async def stop(self) -> None:
        """End it, or wait until it has ended by itself or was killed."""
        assert self._worker is not None
        if self._killed or self._gone.is_set():
            # Not stopped: its death is told of in the log.
            await self._gone.wait()
        else:
            await self._worker.stop()

    def _take_answers(self, _: WorkerProcess, answers: list[Answer]) -> None:
        if not self._asked or self._answer or [answer.place for answer in answers] != [0]:
            raise ValueError("not an answer to what was asked")
        self._answer = answers[0]

    def _batch_done(self, _: WorkerProcess, _merging: bool) -> None:
        if self._answer is None:
            raise ValueError("an answer is missing")
        self._asked = False
        self._settled.set()

    def _lost(self, _: WorkerProcess) -> None:
        self._gone.set()
        self._settled.set()
