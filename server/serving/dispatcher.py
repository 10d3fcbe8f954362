"""The requests that wait for a release's workers, and what each worker holds."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

from server.errors import QueueFull, ServingError
from server.processes.worker_process import WorkerProcess
from server.serving.calls import Answered, Batch, Call, refuse
from server.serving.overdue import Overdue
from server.serving.retrials import Retrials
from server.serving.spare import StartSpare
from server.serving.traffic import AnswerCount, RecentRequests
from server.settings import Settings
from server.worker.frames import Answer, Outcome
from watcher.versions import ModelVersion

# A request this large is never merged, and takes a worker long enough that what comes after it
# should wait for another one.
_LARGE_BODY = 64 * 1024
_BATCH_BYTES = 1024 * 1024


class Dispatcher:
    """Gives each free worker what waits, as one batch; no request waits for a batch to fill.

    Attributes:
        empty: Set while every request is answered.
        answers: How many are.

    Args:
        model: The version that the workers serve; its label stands in every answer.
        settings: Limits.
        recent: Where answered requests are kept.
        on_culprit: Called with the digest of each request that killed or hung a worker by itself,
            where suspects are asked again in spare workers.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        recent: RecentRequests,
        on_culprit: Callable[[bytes], None],
    ) -> None:
        self._label = model.label
        self._settings = settings
        self._recent = recent
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Call] = deque()
        self._idle: deque[WorkerProcess] = deque()
        # What each busy worker holds; it predicts the first.
        self._batches: dict[WorkerProcess, deque[Batch]] = {}
        self._ahead_from = math.inf
        self._merging = False
        self._dispatching = False
        self._closed: ServingError | None = None
        self.empty = asyncio.Event()
        self.empty.set()
        self.answers = AnswerCount()
        self._retrials = Retrials(
            model,
            settings,
            self._queue,
            self.answers,
            self._note_retrials,
            on_culprit,
        )
        # Looked at for each request; empty while none is known.
        self._known_lengths = self._retrials.known_lengths
        self._overdue = Overdue(
            model.display,
            settings.request_timeout_seconds,
            self._queue,
            self._batches,
            self.answers,
            self._retrials.note_hung,
            self._note_emptiness,
        )

    @property
    def waiting(self) -> int:
        """How many requests no worker has taken yet."""
        return len(self._queue) + self._retrials.waiting

    @property
    def unanswered(self) -> int:
        """How many requests wait or are held by a worker."""
        return len(self._queue) + len(self._held()) + self._retrials.unanswered

    def offer_spares(self, start_spare: StartSpare) -> None:
        """From now on, ask what a lost worker held in spare workers rather than in these."""
        self._retrials.offer(start_spare)

    def add(self, worker: WorkerProcess, *, merging: bool) -> None:
        """Give work to a worker from now on."""
        self._merging = merging
        self._free(worker)

    def remove(self, worker: WorkerProcess) -> bool:
        """Have other workers answer what a lost one held, and return whether it held anything."""
        if worker in self._idle:
            self._idle.remove(worker)
        batches = self._batches.pop(worker, deque())
        self._ahead_from = math.inf
        while len(batches) > 1:
            # Not begun: none of these can have been the reason.
            self._queue.extendleft(reversed(batches.pop().calls.values()))
        if not batches:
            return False
        self._retrials.add([*batches[0].calls.values()])
        return True

    def close(self, error: ServingError) -> None:
        """Refuse whatever is unanswered, and whatever comes."""
        self._closed = error
        self._overdue.stop()
        for call in [*self._queue, *self._held()]:
            refuse(call, error)
        self._queue.clear()
        self._batches.clear()
        self._retrials.close(error)
        self.empty.set()

    async def stop_spares(self) -> None:
        """End the spare workers, after `close`."""
        await self._retrials.stop()

    def submit(
        self,
        content_type: bytes,
        request_id: bytes,
        body: bytes,
        client: bytes = b"",
        hold: object = None,
    ) -> Answered:
        """Queue a request; the future brings the worker's answer or a `ServingError`.

        Args:
            hold: Kept for as long as the request is.

        Raises:
            QueueFull: as many requests wait as may.
            ServingError: the release was stopped.
        """
        if self._closed is not None:
            raise self._closed
        # What free workers are about to take does not wait.
        if len(self._queue) >= self._settings.max_queue + len(self._idle):
            raise QueueFull(f"{len(self._queue)} requests are waiting")
        due = self._loop.time() + self._settings.request_timeout_seconds
        answer: Answered = self._loop.create_future()
        call = Call(content_type, request_id, body, due, answer, client, hold)
        if self._known_lengths and len(body) in self._known_lengths:
            self.empty.clear()
            self._retrials.screen(call, self.adopt)
        else:
            self.adopt(call)
        return call.answer

    def hand_over(self, other: "Dispatcher") -> None:
        """Have another release's workers answer what waits here, and its spares what lost workers
        held, now and later."""
        while self._queue:
            other.adopt(self._queue.popleft())
        self._retrials.hand_over(other._retrials)
        self._note_emptiness()

    def adopt(self, call: Call) -> None:
        """Queue a call that came to another release."""
        self._queue.append(call)
        self.empty.clear()
        self._schedule()

    def take_answers(self, worker: WorkerProcess, answers: list[Answer]) -> None:
        """Hand out what a worker answered of its first batch.

        Raises:
            ValueError, LookupError: the answers are not those to a batch that it holds.
        """
        if not answers:
            raise ValueError("a frame without an answer")
        batch = self._batches[worker][0]
        for answer in answers:
            call = batch.calls.pop(answer.place)
            if not call.answer.done():
                call.answer.set_result((answer, self._label))
        self.answers.total += len(answers)
        now = self._loop.time()
        # One of a batch is enough to rehearse with, and costs the others nothing.
        if answer.outcome is Outcome.OK and self._recent.is_due(call.client, now):
            seconds = (now - batch.begun) / len(answers)
            self._recent.note(call.client, call.content_type, call.body, answer.body, now, seconds)
        if batch.calls:
            # It does not hang: the rest may be many, each predicted by itself.
            batch.begun = now
            batch.due = now + self._overdue.patience(len(batch.calls))

    def batch_done(self, worker: WorkerProcess, merging: bool) -> None:
        """Note that a worker has answered all of its first batch.

        Args:
            merging: Whether it still merges requests.

        Raises:
            ValueError: it has not answered all.
        """
        batches = self._batches[worker]
        if batches[0].calls:
            raise ValueError(f"{len(batches[0].calls)} answers are missing")
        self._merging = merging
        batches.popleft()
        if batches:
            self._begin(batches)
            self._schedule()
        else:
            del self._batches[worker]
            self._free(worker)

    def _held(self) -> list[Call]:
        """What the workers have not answered yet."""
        batches = (batch for held in self._batches.values() for batch in held)
        return [call for batch in batches for call in batch.calls.values()]

    def _schedule(self) -> None:
        """Dispatch once the loop has read what else has arrived: that goes into the same batch."""
        if not self._dispatching and (self._idle or len(self._queue) >= self._ahead_from):
            self._dispatching = True
            self._loop.call_soon(self._dispatch)
        self._overdue.watch()

    def _dispatch(self) -> None:
        self._dispatching = False
        while self._queue and self._idle:
            share = math.ceil(len(self._queue) / len(self._idle))
            calls = self._take(share)
            if not calls:
                return
            self._send(self._idle.popleft(), calls)
        if len(self._queue) >= self._ahead_from and (calls := self._take(len(self._queue))):
            (worker,) = self._batches
            self._send(worker, calls)

    def _send(self, worker: WorkerProcess, calls: list[Call]) -> None:
        batches = self._batches.setdefault(worker, deque())
        batches.append(Batch(calls))
        if len(batches) == 1:
            self._begin(batches)
        else:
            self._ahead_from = math.inf
        parts: list[bytes] = []
        for call in calls:
            parts += (call.content_type, call.request_id, call.body)
        worker.send(parts)

    def _begin(self, batches: deque[Batch]) -> None:
        """Note that a worker begins with the first of its batches."""
        batch = batches[0]
        batch.begun = self._loop.time()
        batch.due = batch.begun + self._overdue.patience(batch.size)
        # A lone worker gets its next batch ahead of time once that is as large as the one it has:
        # it need not wait, then, until this loop has handed out its answers. With several, another
        # one may be free sooner.
        lone = self._settings.workers == 1 and self._merging and len(batches) == 1
        self._ahead_from = batch.size if lone else math.inf

    def _take(self, most: int) -> list[Call]:
        """Take the next batch out of the queue: what is first, and what may go with it."""
        queue = self._queue
        calls: list[Call] = []
        size = 0
        if not self._merging:
            most = 1
        while queue and len(calls) < min(most, self._settings.max_batch_rows):
            call = queue[0]
            size += len(call.body)
            large = len(call.body) > _LARGE_BODY
            if calls and (call.alone or large or size > _BATCH_BYTES):
                break
            queue.popleft()
            if not call.answer.done():
                calls.append(call)
                if call.alone or large:
                    break
        return calls

    def _free(self, worker: WorkerProcess) -> None:
        self._idle.append(worker)
        if not self._batches:
            self._ahead_from = math.inf
        if self._queue:
            # At once rather than on the loop's next turn: the worker waits.
            self._dispatch()
        else:
            self._note_emptiness()

    def _note_emptiness(self) -> None:
        if self._queue or self._batches or self._retrials.unanswered:
            self.empty.clear()
        else:
            self.empty.set()

    def _note_retrials(self) -> None:
        """Note what suspects are left, and dispatch what of them came into the queue."""
        if self._queue:
            self._schedule()
        self._note_emptiness()
