"""A release: one model version, its workers, and the requests that wait for them."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from server.errors import LoadFailed, NotServing
from server.processes.environment import Environment
from server.processes.model_process import Deadline, ModelProcess
from server.processes.ready import Ready
from server.processes.template import Template
from server.processes.worker_process import State, WorkerProcess
from server.serving.calls import Answered
from server.serving.crashes import CrashRecord
from server.serving.dispatcher import Dispatcher
from server.serving.scratch import remove_tree
from server.serving.traffic import RecentRequests
from server.settings import Settings
from server.worker.alias import NAME
from server.worker.spec import DownloadSpec, RecordedRequest, WorkerSpec
from watcher.versions import ModelVersion

_DOWNLOAD = f"{NAME}.download:run"
_LOAD = f"{NAME}.main:run"
# What a release's template forks needs no name: it is a worker.
_WORKER = ""

log = structlog.get_logger("server.serving.release")


class Release:
    """Serves one model version.

    Args:
        model: The version.
        settings: Numbers of workers and limits.
        environment: Where processes come from.
        threads: Most BLAS and OpenMP threads of each worker, or None to leave what the user set.
        directory: The release's own, removed when it stops.
        recorded: Real requests that it must answer first, with what the version before answered.
        rehearse: Whether it must also answer its own example, and answer `recorded` no worse.
        replaces: Whether something better serves, and will serve on if this is refused.
        on_given_up: Called when its workers died so often that it should be replaced.

    Attributes:
        recent: The last requests that it answered well.
        unshared: Why its workers do not share the model's memory; None where they do.
        answers_changed: How many of the recorded requests it answers in another way than the
            version before, as `3 of 32`; None where there were none.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        environment: Environment,
        threads: int | None,
        directory: Path,
        recorded: tuple[RecordedRequest, ...],
        rehearse: bool,
        replaces: bool,
        on_given_up: Callable[["Release"], None],
    ) -> None:
        self.model = model
        self.workers_lost = 0
        self.unshared: str | None = None
        self.ready: Ready | None = None
        self.recent = RecentRequests(settings.rehearsal_requests)
        self.answers_changed: str | None = None
        self._settings = settings
        self._environment = environment
        self._threads = threads
        self._directory = directory
        self._recorded = recorded
        self._rehearse = rehearse
        self._example_decides = rehearse and replaces
        self._only_recorded = False
        self._on_given_up = on_given_up
        self._loop = asyncio.get_running_loop()
        self._workers: list[WorkerProcess] = []
        self._template: Template | None = None
        self._fetching = asyncio.Lock()
        self._dispatcher = Dispatcher(model, settings, self.recent)
        self._crashes = CrashRecord()
        self._template_losses = CrashRecord()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retired = False
        self._stopped = False

    async def start(self) -> None:
        """Fetch, load and rehearse the version, and start its workers.

        Raises:
            LoadFailed: one of them could not; nothing of the release is left then.
        """
        try:
            self.ready = await self._load_first()
            self._take_over(self.ready)
            async with asyncio.TaskGroup() as group:
                for _ in range(len(self._workers), self._settings.workers):
                    group.create_task(self._start_worker(warm=True))
            # What serves is worth replacing, whatever has become of its example since.
            self._example_decides = False
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

    def submit(self, content_type: bytes, request_id: bytes, body: bytes) -> Answered:
        """Queue a request; the future brings the worker's answer or a `ServingError`.

        Raises:
            QueueFull: as many requests wait as may.
            NotServing: the release was stopped.
        """
        return self._dispatcher.submit(content_type, request_id, body)

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
            )

    async def end_template(self) -> None:
        """Let go of the memory that only new workers would need: it gets none any more."""
        template, self._template = self._template, None
        self._retired = True
        if template is not None:
            await template.stop()

    async def stop(self) -> None:
        """End the processes and remove the directory; what is unanswered is refused."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._dispatcher.close(NotServing("this version was stopped before it could answer"))
        await asyncio.gather(self.end_template(), *(worker.stop() for worker in self._workers))
        await asyncio.to_thread(remove_tree, self._directory)

    def state(self) -> list[dict[str, Any]]:
        """What `/info` shows of the workers."""
        return [{"pid": worker.pid, "state": worker.state} for worker in self._workers]

    def _take_over(self, ready: Ready) -> None:
        """Keep the recorded requests, with the answers that are now right, for the next version."""
        for request, answer in zip(self._recorded, ready.answers, strict=True):
            self.recent.note(request.content_type, request.body, answer)
        if self._recorded:
            self.answers_changed = f"{ready.answers_changed} of {len(self._recorded)}"
        self._recorded = ()

    async def _load_first(self) -> Ready:
        """Load the version in the process that shows whether it may serve, and forks the workers or
        is the first one.

        A version that ends the process, or hangs, over its own example may serve without: nothing
        that clients send need do so. It does not take the place of one that serves.
        """
        try:
            process, ready = await self._load(self._recorded, share=self._may_share)
        except LoadFailed as error:
            silent = error.phase == "rehearsal" and "exception" not in error.details
            if not silent or self._example_decides:
                raise
            self._only_recorded = True
            process, ready = await self._load(self._recorded, share=self._may_share)
            ready = replace(ready, example_failed={"error": str(error)})
        self._tell_of_example(ready)
        self.unshared = ready.unshared if self._may_share else "SHARE_MODEL=off"
        # Where the first one answered it, the others must, too.
        self._example_decides = self._rehearse and ready.example_failed is None
        self._employ(process, ready)
        return ready

    @property
    def _may_share(self) -> bool:
        return self._settings.share_model == "auto"

    def _employ(self, process: WorkerProcess, ready: Ready) -> None:
        """Have a process that has loaded the version do what it can."""
        if ready.unshared is None:
            self._template = Template(process, self._environment, self._template_lost)
        else:
            self._workers.append(process)
            self._dispatcher.add(process, merging=bool(ready.merged_formats))

    def _tell_of_example(self, ready: Ready) -> None:
        """Log that the model fails on its own example, unless its first worker did so too."""
        known = self.ready is not None and self.ready.example_failed is not None
        if ready.example_failed is not None and not known:
            log.warning("example_failed", version=self.model.display, **ready.example_failed)

    async def _start_worker(self, *, warm: bool = False) -> tuple[WorkerProcess, Ready]:
        """Fork a worker from the template, or have it load the version where there is none.

        Args:
            warm: Whether it is to answer a request before it gets any.
        """
        assert self.ready is not None
        if (template := self._template) is not None:
            try:
                return await self._fork_worker(template, warm), self.ready
            except LoadFailed:
                if self._template is template:
                    raise
        process, ready = await self._load((), share=False)
        self._employ(process, ready)
        return process, ready

    async def _fork_worker(self, template: Template, warm: bool) -> WorkerProcess:
        worker = self._worker()
        self._workers.append(worker)
        try:
            await worker.start(template, "worker", _WORKER)
            worker.begin([b"warm" if warm else b""])
            await worker.wait_ready(Deadline(self._settings.load_timeout_seconds))
        except BaseException:
            self._workers.remove(worker)
            await self._discard(worker)
            raise
        assert self.ready is not None
        self._dispatcher.add(worker, merging=bool(self.ready.merged_formats))
        return worker

    async def _load(
        self, recorded: tuple[RecordedRequest, ...], *, share: bool
    ) -> tuple[WorkerProcess, Ready]:
        """Load and rehearse the version in a process of its own, and fetch it before if need be."""
        deadline = Deadline(self._settings.load_timeout_seconds)
        process = self._worker()
        name = "template" if share else "worker"
        # While it comes to life, the version is fetched.
        starting = self._loop.create_task(process.start(self._environment, name, _LOAD, forks=True))
        try:
            try:
                path = self._path() or await self._fetch(deadline)
            finally:
                await asyncio.wait([starting])
            await starting
            process.begin(self._spec(path, recorded, share).parts())
            return process, Ready.of(await process.wait_ready(deadline))
        except BaseException:
            await self._discard(process)
            raise

    def _worker(self) -> WorkerProcess:
        return WorkerProcess(
            self.model.display,
            self._dispatcher.take_answers,
            self._dispatcher.batch_done,
            self._worker_lost,
        )

    async def _discard(self, process: ModelProcess) -> None:
        process.kill()
        await asyncio.shield(process.stop())

    async def _fetch(self, deadline: Deadline) -> str:
        """Download the version in a process of its own, and return where it lies."""
        async with self._fetching:
            process = ModelProcess(self.model.display, phase="download")
            try:
                await process.start(self._environment, "download", _DOWNLOAD)
                process.begin(
                    DownloadSpec(
                        load_uri=self.model.load_uri,
                        directory=str(self._directory),
                        log_level=self._settings.log_level,
                    ).parts()
                )
                (path,) = await process.wait_ready(deadline)
            except BaseException:
                await self._discard(process)
                raise
            self._run(process.stop())
            return str(path, "utf-8")

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _spec(self, path: str, recorded: tuple[RecordedRequest, ...], share: bool) -> WorkerSpec:
        settings = self._settings
        return WorkerSpec(
            path=path,
            directory=str(self._directory),
            log_level=settings.log_level,
            share=share,
            threads=self._threads,
            batching=settings.batching,
            merged_formats=self.ready.merged_formats if self.ready else None,
            max_batch_rows=settings.max_batch_rows,
            rehearse=self._rehearse,
            recorded=recorded,
            example_decides=self._example_decides,
            only_recorded=self._only_recorded,
        )

    def _path(self) -> str | None:
        """Where the version's files are, if they have been fetched and nobody has removed them."""
        return self.ready.path if self.ready and Path(self.ready.path).exists() else None

    def _worker_lost(self, worker: WorkerProcess) -> None:
        """Have another worker answer what this one held, and start one in its place."""
        self._workers.remove(worker)
        self._dispatcher.remove(worker)
        if self._stopped:
            return
        self.workers_lost += 1
        self._run(self._replace(worker.pid, self._note_crash()))

    async def _replace(self, lost: int, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                worker, ready = await self._start_worker()
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
        self._tell_of_example(ready)
        log.info("worker_replaced", version=self.model.display, old_pid=lost, pid=worker.pid)

    def _template_lost(self) -> None:
        """Make another one; until then, workers that are replaced load the version themselves."""
        template, self._template = self._template, None
        if template is not None:
            self._run(self._replace_template(template))

    async def _replace_template(self, lost: Template) -> None:
        await lost.stop()
        while True:
            await asyncio.sleep(self._template_losses.note(self._loop.time()))
            try:
                process, ready = await self._load((), share=True)
            except LoadFailed as error:
                log.error(
                    "template_not_replaced",
                    version=self.model.display,
                    phase=error.phase,
                    error=str(error),
                    **error.details,
                )
                continue
            break
        if ready.unshared is not None:
            self.unshared = ready.unshared
            await self._discard(process)
            return
        self._template = Template(process, self._environment, self._template_lost)
        log.info("template_replaced", version=self.model.display, old_pid=lost.pid, pid=process.pid)

    def _note_crash(self) -> float:
        pause = self._crashes.note(self._loop.time())
        if self._crashes.too_many:
            self._on_given_up(self)
        return pause
