"""The requests that wait for a release's workers, and what each worker holds."""

import asyncio
import math
from functools import partial

from server.errors import QueueFull, ServingError
from server.processes.worker_process import State, WorkerProcess
from server.serving.batches import Batch
from server.serving.calls import Answered, Call, add_chunk, answer, refuse
from server.serving.held import Held
from server.serving.keeper import Keeper, StartSpare
from server.serving.overdue import Overdue
from server.serving.queue import Queue
from server.serving.retrials import Retrials
from server.serving.traffic import AnswerCount, RecentRequests
from server.settings import Settings
from server.worker.frames import SLOTS_OF_WAITING, TRIED_AT_A_TIME, Answer, Finding, Outcome
from watcher.versions import ModelVersion


class Dispatcher:
    """Gives each free worker what waits, as one batch; no request waits for a batch to fill. A
    worker that answers several batches at a time gets each request in one of its own.

    Attributes:
        empty: Set while every request is answered.
        answers: How many are.

    Args:
        model: The version that the workers serve; its label stands in every answer.
        settings: Limits.
        recent: Where answered requests are kept.
        keeper: Hears what becomes of the workers.
    """

    def __init__(
        self, model: ModelVersion, settings: Settings, recent: RecentRequests, keeper: Keeper
    ) -> None:
        self._label = model.label
        self._settings = settings
        self._recent = recent
        self._loop = asyncio.get_running_loop()
        self._keeper = keeper
        self._queue = Queue(settings.max_batch_rows)
        self._held = Held()
        self._ahead_from = math.inf
        self._dispatching = False
        self._closed: ServingError | None = None
        self.empty = asyncio.Event()
        self.empty.set()
        self.answers = AnswerCount()
        self._retrials = Retrials(
            model, settings, self._queue, self.answers, self._note_retrials, keeper
        )
        # Looked at for each request; empty while none is known.
        self._known_lengths = self._retrials.known_lengths
        self._overdue = Overdue(
            model.display,
            settings.request_timeout_seconds,
            self._queue,
            self._held.batches,
            self.answers,
            self._retrials.note_hung,
            self._retire,
            self._note_emptiness,
        )

    @property
    def waiting(self) -> int:
        """How many requests no worker has taken yet."""
        return len(self._queue) + self._retrials.waiting

    @property
    def unanswered(self) -> int:
        """How many requests wait or are held by a worker, and are waited for."""
        held = sum(call.awaited for call in self._held.calls)
        return len(self._queue) + held + self._retrials.unanswered

    @property
    def streaming(self) -> int:
        """How many of those have got a part of their answer."""
        begun = [call.stream for call in self._held.calls if call.stream is not None]
        return sum(stream.awaited for stream in begun) + self._retrials.streaming

    def offer_spares(self, start_spare: StartSpare) -> None:
        """From now on, ask what a lost worker held in spare workers rather than in these."""
        self._retrials.offer(start_spare)

    def add(self, worker: WorkerProcess, *, merging: bool) -> None:
        """Give work to a worker from now on."""
        worker.most = self._settings.max_batch_rows if merging else 1
        self._free(worker)

    def worker_lost(self, worker: WorkerProcess) -> None:
        """Have other workers answer what a lost one held."""
        batches = self._held.remove(worker)
        self._ahead_from = math.inf
        # None of those that it had not begun with can have been the reason.
        waited = [call for batch in batches if not batch.has_begun for call in batch.calls.values()]
        self._queue.shared.extendleft(reversed(waited))
        suspects = [call for batch in batches if batch.has_begun for call in batch.calls.values()]
        broken = [call for call in suspects if call.stream is not None]
        self._retrials.note_broken(broken, alone=len(suspects) == 1)
        self._retrials.add([call for call in suspects if call.stream is None])
        self._keeper.worker_lost(worker, held=any(batch.has_begun for batch in batches))

    def close(self, error: ServingError) -> None:
        """Refuse whatever is unanswered, and whatever comes."""
        self._closed = error
        self._overdue.stop()
        for call in [*self._queue, *self._held.calls]:
            refuse(call, error)
        self._queue.take_all()
        self._held.batches.clear()
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
        *,
        streams: bool = False,
    ) -> Answered:
        """Queue a request; the future brings the worker's answer or a `ServingError`.

        Args:
            hold: Kept for as long as the request is.
            streams: Whether the future may bring a stream instead.

        Raises:
            QueueFull: as many requests wait as may.
            ServingError: the release was stopped.
        """
        if self._closed is not None:
            raise self._closed
        # What free workers are about to take does not wait.
        most = self._settings.max_queue
        waiting = len(self._queue.shared)
        if waiting >= most and waiting >= most + self._held.free_slots:
            raise QueueFull(f"{waiting} requests are waiting")
        due = self._loop.time() + self._settings.request_timeout_seconds
        answered: Answered = self._loop.create_future()
        call = Call(content_type, request_id, body, due, answered, client, hold, streams=streams)
        if self._known_lengths and len(body) in self._known_lengths:
            self.empty.clear()
            self._retrials.screen(call, self.adopt)
        else:
            self.adopt(call)
        return call.answer

    def hand_over(self, other: "Dispatcher") -> None:
        """Have another release's workers answer what waits here, and its spares what lost workers
        held, now and later."""
        for call in self._queue.take_all():
            other.adopt(call)
        self._retrials.hand_over(other._retrials)
        self._note_emptiness()

    def adopt(self, call: Call) -> None:
        """Queue a call, which may have come to another release."""
        self._queue.add(call)
        self.empty.clear()
        self._schedule()

    def take_answers(self, worker: WorkerProcess, number: int, answers: list[Answer]) -> None:
        """Hand out what a worker answered of a batch.

        Raises:
            ValueError, LookupError: the answers are not those to a batch that it has begun with.
        """
        if not answers:
            raise ValueError("a frame without an answer")
        if (batch := self._awaited(worker, number)) is None:
            return
        for given in answers:
            call = batch.calls.pop(given.place)
            answer(call, given, self._label)
        self.answers.total += len(answers)
        now = self._loop.time()
        # One of a batch is enough to rehearse with, and costs the others nothing.
        whole = given.outcome is Outcome.OK and call.stream is None
        if whole and self._recent.is_due(call.client, now):
            seconds = (now - batch.begun) / len(answers)
            self._recent.note(call.client, call.content_type, call.body, given.body, now, seconds)
        if batch.calls:
            # It does not hang: the rest may be many, each predicted by itself.
            batch.begun = now
            batch.due = now + self._overdue.patience(len(batch.calls))

    def take_chunk(self, worker: WorkerProcess, number: int, chunk: bytes | None) -> None:
        """Hand on a chunk of a stream.

        Raises:
            ValueError, LookupError: the worker has not begun with such a batch, or that asks for no
                stream.
        """
        if (batch := self._awaited(worker, number)) is None:
            return
        (call,) = batch.calls.values()
        credit, cancel = partial(worker.credit, number), partial(self._cancel, worker, number)
        add_chunk(call, chunk, self._label, credit, cancel)
        if call.alone:
            # It is not asked again, whatever becomes of the worker: others may have that, too.
            call.alone = False
            if worker.state is not State.RETIRING and worker.slots > 1:
                self._free(worker)
        batch.due = self._loop.time() + self._settings.request_timeout_seconds

    def batch_done(self, worker: WorkerProcess, number: int, finding: Finding) -> None:
        """Note that a worker has answered all of a batch.

        Raises:
            ValueError, LookupError: it has not.
        """
        if self._closed is not None:
            return
        batch = self._held.begun(worker, number)
        if batch.calls:
            raise ValueError(f"{len(batch.calls)} answers are missing")
        self._held.take(worker, number)
        left = self._held.of(worker)
        if worker.slots == 1:
            worker.most = self._most_after(finding)
            if finding is Finding.WAITS:
                worker.slots = SLOTS_OF_WAITING
                self._keeper.worker_waits()
        for ahead in left.values():
            if not ahead.has_begun:
                self._begin(worker, ahead)
        if worker.state is State.RETIRING:
            if all(batch.hung for batch in left.values()):
                worker.kill()
        elif left and worker.slots == 1:
            self._schedule()
        else:
            self._free(worker)

    def merging_found(self, reason: str, formats: list[str]) -> None:
        """See `Keeper`."""
        self._keeper.merging_found(reason, formats)

    def _most_after(self, finding: Finding) -> int:
        """How many calls a worker may get at a time that has found this."""
        if finding is Finding.MERGES:
            return self._settings.max_batch_rows
        return TRIED_AT_A_TIME if finding is Finding.TRIES else 1

    def _awaited(self, worker: WorkerProcess, number: int) -> Batch | None:
        """The batch that a worker answers; None where those who asked have been told otherwise."""
        if self._closed is not None:
            return None
        batch = self._held.begun(worker, number)
        return None if batch.hung else batch

    def _schedule(self) -> None:
        """Dispatch once the loop has read what else has arrived: that goes into the same batch."""
        ahead = len(self._queue.shared) >= self._ahead_from
        if not self._dispatching and (self._held.idle or self._held.kept or ahead):
            self._dispatching = True
            self._loop.call_soon(self._dispatch)
        self._overdue.watch()

    def _dispatch(self) -> None:
        self._dispatching = False
        if self._queue.alone or self._held.kept:
            self._dispatch_alone()
        idle, shared = self._held.idle, self._queue.shared
        while shared and idle:
            most = idle[0].most if idle[0].slots == 1 else 1
            share = min(math.ceil(len(shared) / len(idle)), most)
            if calls := self._queue.take(share):
                self._send(idle.popleft(), calls)
        # What is to be alone comes before.
        ahead = len(shared) >= self._ahead_from and not self._queue.alone
        if ahead:
            (worker,) = self._held.batches
            if calls := self._queue.take(min(len(shared), worker.most)):
                self._send(worker, calls)

    def _dispatch_alone(self) -> None:
        """Dispatch what nobody else may be asked beside."""
        self._held.keep_one(self._settings.workers)
        alone = self._queue.alone
        while alone:
            if alone[0].answer.done():
                alone.popleft()
            elif worker := self._held.take_unused(others_wait=bool(self._queue.shared)):
                self._send(worker, [alone.popleft()])
            else:
                return
        self._held.keep_none()

    def _send(self, worker: WorkerProcess, calls: list[Call]) -> None:
        parts: list[bytes] = []
        for call in calls:
            parts += (call.content_type, call.request_id, call.body)
        batch = Batch(calls)
        number = worker.send(parts, streams=batch.streams)
        self._held.put(worker, number, batch)
        if worker.slots > 1 or batch.streams:
            calls[0].answer.add_done_callback(partial(self._note_answered, worker, number))
        if worker.slots > 1 or len(self._held.of(worker)) == 1:
            self._begin(worker, batch)
        else:
            self._ahead_from = math.inf

    def _note_answered(self, worker: WorkerProcess, number: int, answered: Answered) -> None:
        if answered.cancelled():
            self._cancel(worker, number)

    def _cancel(self, worker: WorkerProcess, number: int) -> None:
        """Tell a worker that nobody waits any more for what it has of a client."""
        if number in self._held.of(worker):
            worker.cancel(number)
        self._note_emptiness()

    def _begin(self, worker: WorkerProcess, batch: Batch) -> None:
        """Note that a worker begins with a batch."""
        batch.begun = self._loop.time()
        batch.due = batch.begun + self._overdue.patience(batch.size)
        # A lone worker gets its next batch ahead of time once that is as large as the one it has:
        # it need not wait, then, until this loop has handed out its answers. With several, another
        # one may be free sooner; and a stream may last, so that nobody could take it in time.
        only = len(self._held.of(worker)) == 1
        merges = worker.slots == 1 and worker.most > 1
        lone = self._settings.workers == 1 and merges and only and not batch.streams
        self._ahead_from = batch.size if lone else math.inf

    def _retire(self, worker: WorkerProcess) -> None:
        """Give a worker no more: one of those that it has will never be answered."""
        self._held.retire(worker)
        worker.retire()
        self._keeper.worker_retiring(worker)

    def _free(self, worker: WorkerProcess) -> None:
        self._held.free(worker)
        if not self._held.batches:
            self._ahead_from = math.inf
        if self._queue:
            # At once rather than on the loop's next turn: the worker waits.
            self._dispatch()
        else:
            self._held.keep_none()
            self._note_emptiness()

    def _note_emptiness(self) -> None:
        held = self._held.batches and any(call.awaited for call in self._held.calls)
        if self._queue or self._retrials.unanswered or held:
            self.empty.clear()
        else:
            self.empty.set()

    def _note_retrials(self) -> None:
        """Note what suspects are left, and dispatch what of them came into the queue."""
        if self._queue:
            self._schedule()
        self._note_emptiness()
