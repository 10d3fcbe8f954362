"""A release: one model version, its workers, and the requests that wait for them."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from server.errors import LoadFailed, NotServing
from server.processes.environment import Environment
from server.processes.ready import Ready
from server.processes.worker_process import State, User, WorkerProcess
from server.serving.calls import Answered
from server.serving.crashes import CrashRecord
from server.serving.dispatcher import Dispatcher
from server.serving.loader import Loader
from server.serving.scratch import remove_tree
from server.serving.traffic import Kept, RecentRequests, that_fit
from server.settings import Settings
from watcher.versions import ModelVersion

log = structlog.get_logger("server.serving.release")


class Release:
    """Serves one model version.

    Args:
        model: The version.
        settings: Numbers of workers and limits.
        environment: Where processes come from.
        threads: What `THREAD_VARIABLES` are to be in a worker.
        directory: The release's own, removed when it stops.
        recorded: Real requests that it must answer first, with what the version before answered;
            as many as there is time for.
        rehearse: Whether it must also answer its own example, and answer `recorded` no worse.
        replaces: Whether something better serves, and will serve on if this is refused.
        on_given_up: Called when its workers died so often that it should be replaced.

    Attributes:
        streams: Whether the model can answer in chunks.
        recent: Some of the last hour's requests that it answered well.
        answers_changed: How many of the recorded requests it answers in another way than the
            version before, as `3 of 32`; None where there were none.
        answers_failed: How many of them it refuses or answers worse, likewise.
        left_out: For how many of them there was no time.
        replay_skipped: Why the others were not asked either.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        environment: Environment,
        threads: Mapping[str, str],
        directory: Path,
        recorded: tuple[Kept, ...],
        rehearse: bool,
        replaces: bool,
        on_given_up: Callable[["Release"], None],
    ) -> None:
        self.model = model
        self.streams = False
        self.workers_lost = 0
        self.recent = RecentRequests(settings.requests_kept)
        self.answers_changed: str | None = None
        self.answers_failed: str | None = None
        self.left_out = 0
        self.replay_skipped: str | None = None
        self._settings = settings
        self._directory = directory
        self._recorded = that_fit(recorded, settings.rehearsal_seconds)
        self._unfit = len(recorded) - len(self._recorded)
        self._rehearse = rehearse
        self._on_given_up = on_given_up
        self._loop = asyncio.get_running_loop()
        self._workers: list[WorkerProcess] = []
        # Those of them that another one has taken the place of, or is about to.
        self._retiring: set[WorkerProcess] = set()
        self._dispatcher = Dispatcher(model, settings, self.recent, self)
        self._loader = Loader(
            model,
            settings,
            environment,
            threads,
            directory,
            rehearse=rehearse,
            replaces=replaces,
            new_worker=self._new_worker,
        )
        self._crashes = CrashRecord()
        self._replacing: set[asyncio.Task[None]] = set()
        self._replaced = False
        self._stopped = False

    async def start(self) -> None:
        """Fetch, load and rehearse the version, and start its workers.

        Raises:
            LoadFailed: one of them could not; nothing of the release is left then.
        """
        try:
            ready, worker = await self._loader.load(tuple(kept.recorded for kept in self._recorded))
            self._take_over(ready)
            self.streams = ready.streams
            if worker is not None:
                self._dispatcher.add(worker, merging=bool(ready.merged_formats))
            async with asyncio.TaskGroup() as group:
                for _ in range(0 if worker is None else 1, self._settings.workers):
                    group.create_task(self._start_worker(warm=True))
            self._loader.note_serving()
            if self.unshared is None:
                self._dispatcher.offer_spares(self._start_spare)
        except ExceptionGroup as errors:
            await self.stop()
            raise errors.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise

    @property
    def ready(self) -> Ready | None:
        """What the process that loaded the version has said of it, once it has."""
        return self._loader.ready

    @property
    def unshared(self) -> str | None:
        """Why its workers do not share the model's memory; None where they do."""
        return self._loader.unshared

    @property
    def workers_alive(self) -> int:
        """How many workers can answer."""
        return sum(worker.state in (State.IDLE, State.BUSY) for worker in self._workers)

    @property
    def sound(self) -> bool:
        """Whether none of its workers has died in the last minute."""
        return not self._crashes.any_lately(self._loop.time())

    def fails_example_of(self, model: ModelVersion) -> bool:
        """Whether it serves that very version although that fails on its own example, or may."""
        same = self.model.identity == model.identity
        failed = self.ready is not None and self.ready.example_failed is not None
        return same and (failed or not self._rehearse)

    @property
    def waiting(self) -> int:
        """How many requests no worker has taken yet."""
        return self._dispatcher.waiting

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
            client: Who sent it, see `server.http.peers.client_of`.
            hold: Kept for as long as the request is.
            streams: Whether the future may bring a stream instead.

        Raises:
            QueueFull: as many requests wait as may.
            NotServing: the release was stopped.
        """
        return self._dispatcher.submit(
            content_type, request_id, body, client, hold, streams=streams
        )

    def hand_over(self, other: "Release") -> None:
        """Have another release answer what waits here and no worker has taken."""
        self._dispatcher.hand_over(other._dispatcher)

    async def drain(self, timeout: float) -> None:
        """Wait until every request is answered, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._dispatcher.empty.wait()
        except TimeoutError:
            log.warning(
                "drain_timed_out",
                version=self.model.display,
                unanswered=self._dispatcher.unanswered,
                streams=self._dispatcher.streaming,
            )

    async def end_template(self) -> None:
        """Give back the memory that only new workers would need: it has been replaced."""
        self._replaced = True
        await self._loader.end_template()

    async def stop(self) -> None:
        """End the processes and remove the directory; what is unanswered is refused."""
        self._stopped = True
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        self._dispatcher.close(NotServing("this version was stopped before it could answer"))
        await asyncio.gather(
            self.end_template(),
            self._dispatcher.stop_spares(),
            *(one.stop() for one in self._workers),
        )
        await asyncio.to_thread(remove_tree, self._directory)

    def state(self) -> list[dict[str, Any]]:
        """What `/info` shows of the workers."""
        hidden = (State.ENDED, State.FORKING)
        return [
            {"pid": worker.pid, "state": worker.state}
            for worker in self._workers
            if worker.state not in hidden
        ]

    def _take_over(self, ready: Ready) -> None:
        """Keep the recorded requests, with the answers that are now right, for the next version."""
        now = self._loop.time()
        for kept, answer in zip(self._recorded, ready.answers, strict=True):
            if answer:
                self.recent.carry_on(kept, answer, now)
        if ready.replayed:
            self.answers_changed = f"{ready.answers_changed} of {ready.replayed}"
            self.answers_failed = f"{ready.answers_failed} of {ready.replayed}"
        self.replay_skipped = ready.replay_skipped
        if ready.replay_skipped is None:
            self.left_out = self._unfit + len(self._recorded) - ready.replayed
        self._recorded = ()

    def _new_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self.model.display, self._dispatcher)
        self._workers = [one for one in self._workers if one.state is not State.ENDED]
        self._workers.append(worker)
        return worker

    async def _start_spare(self, user: User) -> WorkerProcess:
        worker = WorkerProcess(self.model.display, user)
        await self._loader.fork(worker)
        return worker

    async def _start_worker(self, *, warm: bool = False) -> WorkerProcess:
        worker, ready = await self._loader.start_worker(warm=warm)
        self._dispatcher.add(worker, merging=bool(ready.merged_formats))
        return worker

    def worker_lost(self, worker: WorkerProcess, *, held: bool) -> None:
        """Start one in its place, unless that was done when it began to retire."""
        if self._stopped:
            return
        self.workers_lost += 1
        if worker in self._retiring:
            self._retiring.remove(worker)
        else:
            self._start_in_place_of(worker, held=held)

    def worker_retiring(self, worker: WorkerProcess) -> None:
        """Start one in its place while it answers what it has."""
        self._retiring.add(worker)
        self._start_in_place_of(worker, held=True)

    def worker_waits(self) -> None:
        """Have other workers be given several requests at a time from the start."""
        self._loader.note_waits()

    def merging_found(self, reason: str, formats: list[str]) -> None:
        """Have `/info` say it, and other workers be given what may be merged from the start."""
        self._loader.note_merging(reason, formats)

    def spare_lost(self) -> None:
        """Count it."""
        self.workers_lost += 1

    def note_culprit(self, digest: bytes) -> None:
        """Give the version up where there have been too many."""
        now = self._loop.time()
        if self._crashes.note_culprit(digest, now, self._dispatcher.answers.lately(now)):
            self._on_given_up(self)

    def _start_in_place_of(self, worker: WorkerProcess, *, held: bool) -> None:
        if self._replaced and not self._dispatcher.unanswered:
            # Another worker would have to load the version, to do nothing.
            return
        # What it held is asked again where it can do no harm, and found to be the reason or not.
        pause = 0.0 if held and self._loader.forks else self._note_crash()
        task = self._loop.create_task(self._replace(worker.pid, pause))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _replace(self, lost: int, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                worker = await self._start_worker()
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
        log.info("worker_replaced", version=self.model.display, old_pid=lost, pid=worker.pid)

    def _note_crash(self) -> float:
        pause = self._crashes.note(self._loop.time(), forks=self._loader.forks)
        if self._crashes.too_many:
            self._on_given_up(self)
        return pause
