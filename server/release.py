"""A release: one model version, its workers, and the requests that wait for them."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from server.calls import Answered, Batch, Call, refuse
from server.cores import threads_per_worker
from server.crashes import CrashRecord
from server.errors import (
    LoadFailed,
    NotServing,
    PredictionTimeout,
    QueueFull,
    ServingError,
    WorkerDied,
)
from server.forkserver import ForkServer
from server.scratch import remove_tree
from server.settings import Settings
from server.traffic import RecentRequests
from server.worker.entry import RecordedRequest, WorkerSpec
from server.worker.frames import Answer, Outcome
from server.worker_process import Ready, State, WorkerProcess
from watcher.versions import ModelVersion

# A batch larger than this takes a worker long enough that what comes after it should wait for
# another one.
_BATCH_BYTES = 1024 * 1024

log = structlog.get_logger("server.release")


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a release answered to recent requests before it served.

    Attributes:
        requests: The requests, each with what was answered before.
        answers: Its own answers to them.
        changed: How many differ.
    """

    requests: tuple[RecordedRequest, ...]
    answers: tuple[bytes, ...]
    changed: int

    @property
    def summary(self) -> str | None:
        """`3 of 32` answers changed, or None where there was no request to rehearse."""
        return f"{self.changed} of {len(self.requests)}" if self.requests else None


class Release:
    """Serves one model version.

    Args:
        model: The version.
        settings: Numbers of workers and limits.
        fork_server: Where workers come from.
        directory: The release's own, removed when it stops.
        recent: Where answered requests are kept.
        rehearse: Whether it must first answer its own example and the recent requests.
        on_given_up: Called when its workers died so often that it should be replaced.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        fork_server: ForkServer,
        directory: Path,
        recent: RecentRequests,
        rehearse: bool,
        on_given_up: Callable[["Release"], None],
    ) -> None:
        self.model = model
        self.workers_lost = 0
        self.ready: Ready | None = None
        self.rehearsal = Rehearsal((), (), 0)
        self._settings = settings
        self._fork_server = fork_server
        self._directory = directory
        self._recent = recent
        self._rehearse = rehearse
        self._on_given_up = on_given_up
        self._loop = asyncio.get_running_loop()
        self._workers: list[WorkerProcess] = []
        self._idle: deque[WorkerProcess] = deque()
        self._queue: deque[Call] = deque()
        self._batches: dict[WorkerProcess, Batch] = {}
        self._merging = False
        self._dispatching = False
        self._watch: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._crashes = CrashRecord()
        self._replacing: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Fetch, load and rehearse the version in each of its workers.

        Raises:
            LoadFailed: one of them could not; nothing of the release is left then.
        """
        try:
            recorded = self._recent.snapshot() if self._rehearse else ()
            self.ready = await self._start_worker(recorded)
            self.rehearsal = Rehearsal(recorded, self.ready.answers, self.ready.answers_changed)
            async with asyncio.TaskGroup() as group:
                for _ in range(1, self._settings.workers):
                    group.create_task(self._start_worker())
        except ExceptionGroup as errors:
            await self.stop()
            raise errors.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise

    @property
    def workers_alive(self) -> int:
        """How many workers can answer."""
        return sum(worker.state in (State.IDLE, State.BUSY) for worker in self._workers)

    @property
    def waiting(self) -> int:
        """How many requests no worker has taken yet."""
        return len(self._queue)

    def submit(self, content_type: bytes, request_id: bytes, body: bytes) -> Answered:
        """Queue a request; the future brings the worker's answer or a `ServingError`.

        Raises:
            QueueFull: as many requests wait as may.
        """
        if len(self._queue) >= self._settings.max_queue:
            raise QueueFull(f"{len(self._queue)} requests are waiting")
        due = self._loop.time() + self._settings.request_timeout_seconds
        call = Call(content_type, request_id, body, due, self._loop.create_future())
        self.adopt(call)
        return call.answer

    def hand_over(self, other: "Release") -> None:
        """Have another release answer what waits here and no worker has taken."""
        while self._queue:
            other.adopt(self._queue.popleft())

    def adopt(self, call: Call) -> None:
        """Queue a call that came to another release."""
        self._queue.append(call)
        self._empty.clear()
        self._schedule()

    async def drain(self, timeout: float) -> None:
        """Wait until every request is answered, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._empty.wait()
        except TimeoutError:
            held = len(self._queue) + sum(len(b.calls) for b in self._batches.values())
            log.warning("drain_timed_out", version=self.model.display, unanswered=held)

    async def stop(self) -> None:
        """End the workers and remove the directory; what is unanswered is refused."""
        self._stopped = True
        for task in self._replacing:
            task.cancel()
        if self._watch is not None:
            self._watch.cancel()
        for call in [*self._queue, *(c for b in self._batches.values() for c in b.calls.values())]:
            refuse(call, NotServing("this version was stopped before it could answer"))
        self._queue.clear()
        self._batches.clear()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        await asyncio.to_thread(remove_tree, self._directory)

    def state(self) -> list[dict[str, Any]]:
        """What `/info` shows of the workers."""
        return [{"pid": worker.pid, "state": worker.state} for worker in self._workers]

    async def _start_worker(self, recorded: tuple[RecordedRequest, ...] = ()) -> Ready:
        worker = WorkerProcess(
            self.model.display, self._take_answers, self._worker_idle, self._worker_lost
        )
        self._workers.append(worker)
        try:
            await worker.start(self._fork_server, self._spec(recorded))
            ready = await worker.ready(self._settings.load_timeout_seconds)
        except BaseException:
            self._workers.remove(worker)
            worker.kill()
            await asyncio.shield(worker.stop())
            raise
        self._worker_idle(worker, bool(ready.merged_formats))
        return ready

    def _spec(self, recorded: tuple[RecordedRequest, ...]) -> WorkerSpec:
        settings = self._settings
        return WorkerSpec(
            load_uri=self.model.load_uri,
            directory=str(self._directory),
            path=self.ready.path if self.ready else None,
            log_level=settings.log_level,
            threads=threads_per_worker(settings.workers),
            batching=settings.batching,
            merged_formats=self.ready.merged_formats if self.ready else None,
            max_batch_rows=settings.max_batch_rows,
            rehearse=self._rehearse,
            recorded=recorded,
        )

    def _schedule(self) -> None:
        """Dispatch once the loop has read what else has arrived: that goes into the same batch."""
        if not self._dispatching and self._idle:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)
        if self._watch is None:
            self._watch = self._loop.call_later(self._watch_interval(), self._look_for_overdue)

    def _dispatch(self) -> None:
        self._dispatching = False
        while self._queue and self._idle:
            share = math.ceil(len(self._queue) / len(self._idle))
            calls = self._take(share)
            if not calls:
                return
            worker = self._idle.popleft()
            patience = self._settings.request_timeout_seconds
            if len(calls) > 1:
                # Time is left to ask each alone, should one of them make the model hang.
                patience /= 2
            self._batches[worker] = Batch(calls, self._loop.time() + patience)
            parts: list[bytes] = []
            for call in calls:
                parts += (call.content_type, call.request_id, call.body)
            worker.send(parts)

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
            if calls and (call.alone or size > _BATCH_BYTES):
                break
            queue.popleft()
            if not call.answer.done():
                calls.append(call)
                if call.alone:
                    break
        return calls

    def _take_answers(self, worker: WorkerProcess, answers: list[Answer]) -> None:
        calls = self._batches[worker].calls
        for answer in answers:
            call = calls.pop(answer.place)
            if not call.answer.done():
                call.answer.set_result((answer, self))
        # One of a batch is enough to rehearse with, and costs the others nothing.
        if answer.outcome is Outcome.OK:
            self._recent.note(call.content_type, call.body, answer.body)

    def _worker_idle(self, worker: WorkerProcess, merging: bool) -> None:
        self._batches.pop(worker, None)
        self._merging = merging
        self._idle.append(worker)
        if self._queue:
            # At once rather than on the loop's next turn: the worker waits.
            self._dispatch()
        elif not self._batches:
            self._empty.set()

    def _worker_lost(self, worker: WorkerProcess) -> None:
        """Ask again what the worker held, and start another one."""
        self._workers.remove(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if (batch := self._batches.pop(worker, None)) is not None:
            self._ask_again(list(batch.calls.values()), WorkerDied("the model's process died"))
        if self._stopped:
            return
        self.workers_lost += 1
        task = self._loop.create_task(self._replace(worker.pid, self._note_crash()))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, lost: int, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                await self._start_worker()
            except LoadFailed as error:
                pause = self._note_crash()
                log.error(
                    "worker_not_replaced",
                    version=self.model.display,
                    phase=error.phase,
                    error=str(error),
                    retry_in_seconds=pause,
                    **error.details,
                )
            else:
                break
        pid = self._workers[-1].pid
        log.info("worker_replaced", version=self.model.display, old_pid=lost, pid=pid)

    def _note_crash(self) -> float:
        pause = self._crashes.note(self._loop.time())
        if self._crashes.too_many:
            self._on_given_up(self)
        return pause

    def _ask_again(self, calls: list[Call], error: ServingError) -> None:
        """Put calls back in front of the queue, each to be predicted alone; what was alone before
        is the one at fault."""
        due = self._loop.time() + self._settings.request_timeout_seconds
        for call in reversed(calls):
            if call.alone:
                refuse(call, error)
            else:
                call.alone = True
                call.due = due
                self._queue.appendleft(call)
        if self._queue:
            self._schedule()
        elif not self._batches:
            self._empty.set()

    def _watch_interval(self) -> float:
        return min(1.0, self._settings.request_timeout_seconds / 10)

    def _look_for_overdue(self) -> None:
        """End workers that hang, and refuse what has waited too long."""
        self._watch = None
        now = self._loop.time()
        for worker, batch in list(self._batches.items()):
            if batch.due <= now:
                self._end_hung(worker, batch)
        while self._queue and self._queue[0].due <= now:
            refuse(self._queue.popleft(), QueueFull("no worker was free in time"))
        if self._queue or self._batches:
            self._watch = self._loop.call_later(self._watch_interval(), self._look_for_overdue)
        else:
            self._empty.set()

    def _end_hung(self, worker: WorkerProcess, batch: Batch) -> None:
        """Kill a worker that is overdue. A request that it held by itself has had its time; of
        several, each is asked alone, as one of them may be at fault."""
        log.warning(
            "worker_hung", version=self.model.display, pid=worker.pid, requests=len(batch.calls)
        )
        if len(batch.calls) == 1:
            for call in batch.calls.values():
                refuse(call, PredictionTimeout("the model took too long over this request"))
            batch.calls.clear()
        batch.due = math.inf
        worker.kill()
