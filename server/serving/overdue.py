"""What takes too long: workers that hang, and requests that wait in vain."""

import asyncio
import contextvars
import math
from collections.abc import Callable, Mapping

import structlog

from server.errors import PredictionTimeout, QueueFull
from server.processes.computing import Stopwatch
from server.processes.worker_process import State, WorkerProcess
from server.serving.batches import Batch
from server.serving.calls import Call, refuse
from server.serving.queue import Queue
from server.serving.traffic import AnswerCount

log = structlog.get_logger("server.serving.overdue")


class Overdue:
    """Looks now and then at what a dispatcher holds, while it holds anything.

    Args:
        version: The version that the workers serve, for the log.
        seconds: How long one prediction may take.
        queue: The dispatcher's calls that no worker has taken.
        batches: What each of its busy workers holds, by number.
        answers: Looked at, too, to know later how many there were lately.
        on_hung: Called with a call that used its whole time by itself, and whether the worker
            computed all the while.
        on_retiring: Called with a worker that hangs over one call and is to answer others.
        on_empty: Called when there is nothing to look at any more.
    """

    def __init__(
        self,
        version: str,
        seconds: float,
        queue: Queue,
        batches: Mapping[WorkerProcess, Mapping[int, Batch]],
        answers: AnswerCount,
        on_hung: Callable[[Call, bool], None],
        on_retiring: Callable[[WorkerProcess], None],
        on_empty: Callable[[], None],
    ) -> None:
        self._version = version
        self._seconds = seconds
        self._queue = queue
        self._batches = batches
        self._answers = answers
        self._on_hung = on_hung
        self._on_retiring = on_retiring
        self._on_empty = on_empty
        self._loop = asyncio.get_running_loop()
        self._interval = min(1.0, seconds / 10)
        self._timer: asyncio.TimerHandle | None = None
        # What workers had by itself at the last look, and how much they have computed over it.
        self._single: set[Call] = set()
        self._stopwatches: dict[Call, Stopwatch] = {}

    def watch(self) -> None:
        """Begin to look, unless that has begun."""
        if self._timer is None:
            # A context of its own: what it finds is of other requests than the one that is here.
            self._timer = self._loop.call_later(
                self._interval, self._look, context=contextvars.Context()
            )

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def patience(self, calls: int) -> float:
        """Seconds within which the next answer to a batch must come. Of several calls, one may make
        the model hang, and time is left to ask the others alone."""
        return self._seconds / 2 if calls > 1 else self._seconds

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._answers.look(now)
        for worker, batches in list(self._batches.items()):
            for batch in list(batches.values()):
                self._look_at_stream(batch, now)
                if batch.due <= now:
                    self._end_hung(worker, batch, now)
        self._measure(now)
        for call in self._queue.take_late(now):
            refuse(call, QueueFull("no worker was free in time"))
        if self._queue or self._batches:
            self.watch()
        else:
            self._on_empty()

    def _measure(self, now: float) -> None:
        """Measure the workers that have had the same single call since the last look."""
        begun = {
            worker: [c for b in batches.values() if b.has_begun for c in b.calls.values()]
            for worker, batches in self._batches.items()
        }
        single = {calls[0]: worker for worker, calls in begun.items() if len(calls) == 1}
        self._stopwatches = {
            call: self._stopwatches.get(call) or Stopwatch(worker.pid, now)
            for call, worker in single.items()
            if call in self._single
        }
        self._single = set(single)

    def _look_at_stream(self, batch: Batch, now: float) -> None:
        """Give a stream as long as its client takes, unless others wait for that."""
        if batch.stream is None or not batch.stream.untaken:
            return
        batch.due = now + self._seconds
        if self._queue:
            batch.blocked += self._interval
            if batch.blocked >= self._seconds:
                slow = "the client took this too slowly, while others waited"
                batch.stream.finish(PredictionTimeout(slow))

    def _end_hung(self, worker: WorkerProcess, batch: Batch, now: float) -> None:
        """Kill a worker that is overdue, once it has answered what else it does. A request that it
        held by itself has had its time; of several in one batch, each is asked alone, as one of
        them may be at fault."""
        log.warning(
            "worker_hung",
            version=self._version,
            pid=worker.pid,
            requests=len(batch.calls),
        )
        if len(batch.calls) == 1:
            for call in batch.calls.values():
                refuse(call, PredictionTimeout("the model took too long over this request"))
                stopwatch = self._stopwatches.get(call)
                self._on_hung(call, stopwatch is not None and stopwatch.computing(now))
            batch.calls.clear()
        batch.due = math.inf
        if worker.slots > 1:
            batch.hung = True
            if worker.state is not State.RETIRING:
                self._on_retiring(worker)
            if any(other.calls and not other.hung for other in self._batches[worker].values()):
                return
        worker.kill()
