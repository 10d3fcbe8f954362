"""A worker that is asked one request after another, by whoever waits for the answer."""

import asyncio
import enum
from collections.abc import Callable
from functools import partial

import structlog

from server.errors import LoadFailed
from server.processes.computing import Stopwatch
from server.processes.worker_process import State, WorkerProcess
from server.serving.calls import Call, add_chunk
from server.serving.keeper import StartSpare
from server.worker.frames import Answer, Finding

log = structlog.get_logger("server.serving.spare")


class Failure(enum.Enum):
    """Why there is no answer."""

    DIED = enum.auto()
    HUNG = enum.auto()


class Spare:
    """One such worker.

    Args:
        version: The version that it serves, for the log.
        label: The same, for those who get its answers.
        on_lost: Called when it is lost.

    Attributes:
        fresh: Whether it has not been asked anything yet.
        computing: Whether it computed all the while, where the last request hung.
    """

    def __init__(self, version: str, label: str, on_lost: Callable[[], None]) -> None:
        self.fresh = True
        self.computing = False
        self._version = version
        self._label = label
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._worker: WorkerProcess | None = None
        self._asked: Call | None = None
        self._number = 0
        self._answer: Answer | None = None
        # Whether it is done with the request, in whichever way.
        self._settled = True
        self._moved = asyncio.Event()
        self._gone = asyncio.Event()
        self._killed = False

    async def start(self, start_spare: StartSpare) -> None:
        """Start it.

        Raises:
            LoadFailed: there is none to be had.
        """
        self._worker = await start_spare(self)
        if not self.alive:
            raise LoadFailed("start", "it ended as soon as it was ready")

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._worker is not None and self._worker.state is State.IDLE

    async def ask(self, call: Call, seconds: float, later: float) -> Answer | Failure:
        """Ask a request.

        Args:
            seconds: How long it may take, or the first chunk of it; then the worker is killed.
            later: How long each other chunk may take.
        """
        assert self._worker is not None
        self.fresh = False
        self._asked, self._answer, self._settled = call, None, False
        stopwatch = Stopwatch(self._worker.pid, self._loop.time())
        parts = call.content_type, call.request_id, call.body
        self._number = self._worker.send(parts, streams=call.streams)
        while not self._settled:
            self._moved.clear()
            try:
                async with asyncio.timeout(seconds if call.stream is None else later):
                    await self._moved.wait()
            except TimeoutError:
                # It may be its client that takes its time.
                if call.stream is not None and call.stream.untaken:
                    continue
                self.computing = stopwatch.computing(self._loop.time())
                log.warning("worker_hung", version=self._version, pid=self._worker.pid, requests=1)
                self._killed = True
                self._worker.kill()
                return self._answer or Failure.HUNG
        return self._answer or Failure.DIED

    async def stop(self) -> None:
        """End it, or wait until it has ended by itself or was killed."""
        assert self._worker is not None
        if self._killed or self._gone.is_set():
            # Not stopped: its death is told of in the log.
            await self._gone.wait()
        else:
            await self._worker.stop()

    def take_answers(self, worker: WorkerProcess, number: int, answers: list[Answer]) -> None:
        """Take the answer.

        Raises:
            ValueError: it is none to what was asked.
        """
        places = [answer.place for answer in answers]
        if self._asked is None or number != self._number or self._answer or places != [0]:
            raise ValueError("not an answer to what was asked")
        self._answer = answers[0]

    def take_chunk(self, worker: WorkerProcess, number: int, chunk: bytes | None) -> None:
        """Hand on a chunk of the answer.

        Raises:
            ValueError: it is not one of that.
        """
        if self._asked is None or number != self._number or self._answer:
            raise ValueError("not a chunk of what was asked")
        credit, cancel = partial(worker.credit, number), partial(worker.cancel, number)
        add_chunk(self._asked, chunk, self._label, credit, cancel)
        self._moved.set()

    def batch_done(self, worker: WorkerProcess, number: int, finding: Finding) -> None:
        """Note that it is done.

        Raises:
            ValueError: it has not answered.
        """
        if self._answer is None or number != self._number:
            raise ValueError("an answer is missing")
        self._asked = None
        self._settle()

    def merging_found(self, reason: str, formats: list[str]) -> None:
        """What it merges is of no matter: it gets each request by itself."""

    def worker_lost(self, worker: WorkerProcess) -> None:
        """Note that it is lost."""
        self._gone.set()
        self._settle()
        self._on_lost()

    def _settle(self) -> None:
        self._settled = True
        self._moved.set()
