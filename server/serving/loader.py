"""Bringing a version up: fetched once, loaded once where that is safe, and its workers forked."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from server.errors import LoadFailed
from server.processes.environment import Environment
from server.processes.model_process import Deadline, ModelProcess, Source
from server.processes.ready import Ready
from server.processes.template import Template
from server.processes.worker_process import State, WorkerProcess
from server.serving.crashes import CrashRecord
from server.settings import Settings
from server.worker.alias import NAME
from server.worker.frames import SLOTS_OF_WAITING, encode_number
from server.worker.sandbox import tracking_store
from server.worker.spec import DownloadSpec, RecordedRequest, WorkerSpec
from watcher.versions import ModelVersion

_DOWNLOAD = f"{NAME}.download:run"
_LOAD = f"{NAME}.main:run"
# For a worker that is forked and has nothing to do but to say so.
_SECONDS = 30.0
# A template forks one kind of process only.
_WORKER = ""

log = structlog.get_logger("server.serving.loader")


class Loader:
    """Brings up the processes of one release.

    What `server.serving.release.Release` takes as well is the same here.

    Args:
        new_worker: Makes a handle on a worker that has not been started.

    Attributes:
        ready: What the process that loaded the version first has said of it.
        unshared: Why workers do not share the model's memory; None where they do.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        environment: Environment,
        threads: Mapping[str, str],
        directory: Path,
        *,
        rehearse: bool,
        replaces: bool,
        new_worker: Callable[[], WorkerProcess],
    ) -> None:
        self.ready: Ready | None = None
        self.unshared: str | None = None
        self._model = model
        self._settings = settings
        self._environment = environment
        self._threads = threads
        self._directory = directory
        self._rehearse = rehearse
        self._example_decides = rehearse and replaces
        self._replaces = replaces
        self._only_recorded = False
        self._new_worker = new_worker
        self._loop = asyncio.get_running_loop()
        self._template: Template | None = None
        self._has_forked = False
        self._template_losses = CrashRecord()
        self._fetching = asyncio.Lock()
        self._path: Path | None = None
        # What the processes of this version come from, once that is known.
        self._source: Source | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def forks(self) -> bool:
        """Whether a worker is a mere fork away."""
        return self._template is not None

    async def load(
        self, recorded: tuple[RecordedRequest, ...]
    ) -> tuple[Ready, WorkerProcess | None]:
        """Load the version in the process that shows whether it may serve.

        A version that ends the process, or hangs, over its own example may serve without: nothing
        that clients send need do so. It does not take the place of one that serves.

        Args:
            recorded: Real requests that it must answer first.

        Returns:
            What the process says, and the process itself where it is the first worker, rather than
            the one that forks them.

        Raises:
            LoadFailed: it may not.
        """
        share = self._settings.share_model == "auto"
        try:
            process = self._new_worker()
            ready = await self._load(process, recorded, share=share)
        except LoadFailed as error:
            silent = error.phase == "rehearsal" and "exception" not in error.details
            if not silent or self._example_decides:
                raise
            self._only_recorded = True
            process = self._new_worker()
            ready = await self._load(process, recorded, share=share)
            ready = replace(ready, example_failed={"error": str(error)})
        self._tell_of_example(ready)
        # Where the first one answered it, the others must, too.
        self._example_decides = self._rehearse and ready.example_failed is None
        self.ready = ready
        self.unshared = ready.unshared if share else "SHARE_MODEL=off"
        if self.unshared is not None:
            process.slots = self._slots
            return ready, process
        # Only now it shows that it is no worker.
        process.state = State.FORKING
        self._template = Template(process, self._environment, self._template_lost)
        return ready, None

    def note_serving(self) -> None:
        """Note that the version serves: it is worth replacing its workers now, whatever has become
        of its example."""
        self._example_decides = False

    async def start_worker(self, *, warm: bool = False) -> tuple[WorkerProcess, Ready]:
        """Fork a worker from the template; where there is none, have one load the version.

        Args:
            warm: Whether it is to answer a request before it gets any.

        Raises:
            LoadFailed: it did not come up.
        """
        assert self.ready is not None
        worker = self._new_worker()
        template = self._template
        if template is not None:
            try:
                await self.fork(worker, warm=warm)
            except LoadFailed as error:
                if self._template is template and (self._has_forked or error.phase != "start"):
                    raise
                self._share_no_more(template, str(error))
            else:
                self._has_forked = True
                return worker, self.ready
            worker = self._new_worker()
        ready = await self._load(worker, (), share=False)
        worker.slots = ready.slots
        self._tell_of_example(ready)
        return worker, ready

    def _share_no_more(self, template: Template, why: str) -> None:
        """Have workers load the version where a template can't fork even the first of them: the
        model may have taken away what that needs."""
        if self._template is template:
            self._template = None
            self.unshared = why
            self._run(template.stop())

    async def fork(self, worker: WorkerProcess, *, warm: bool = False) -> None:
        """Fork a worker from the template.

        Raises:
            LoadFailed: it did not come up, or there is no template at the moment.
        """
        if self._template is not None and not self._directory.exists():
            # Nothing that comes from it may make it again: that would be another one.
            self._template.give_up()
        if self._template is None:
            raise LoadFailed("start", "there is no process to fork it from")
        try:
            await worker.start(self._template, "worker", _WORKER)
            worker.slots = self._slots
            worker.begin([b"warm" if warm else b"", encode_number(worker.slots)])
            seconds = self._settings.load_timeout_seconds
            await worker.wait_ready(Deadline(seconds if warm else min(seconds, _SECONDS)))
        except BaseException:
            await _discard(worker)
            raise

    def note_waits(self) -> None:
        """Note that a worker has found the model to wait most of the time: others, begun from now
        on, get several requests at a time at once."""
        assert self.ready is not None
        reason = "the model waited most of the time over live requests"
        self.ready = replace(self.ready, slots=SLOTS_OF_WAITING, slots_reason=reason, waits=True)

    def note_merging(self, reason: str, formats: list[str]) -> None:
        """Note what a worker has found of merging, over live requests."""
        assert self.ready is not None
        merged = tuple(sorted({*formats, *(self.ready.merged_formats if formats else ())}))
        self.ready = replace(self.ready, merged_formats=merged, merging_reason=reason)

    @property
    def _slots(self) -> int:
        assert self.ready is not None
        return self.ready.slots

    async def end_template(self) -> None:
        """Give back the memory that only new workers would need: they load the version now, and
        what it imports."""
        template, self._template = self._template, None
        source, self._source = self._source, self._environment
        if self._replacing is not None:
            self._replacing.cancel()
        if template is not None:
            self._run(template.stop())
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if source is not None:
            await self._environment.leave(source)

    async def _load(
        self, process: ModelProcess, recorded: tuple[RecordedRequest, ...], *, share: bool
    ) -> Ready:
        """Load and rehearse the version in a process of its own, and fetch it before if need be."""
        name = "template" if share else "worker"
        try:
            deadline = Deadline(self._settings.load_timeout_seconds)
            path, source = await self._fetch(deadline)
            # Importing what it comes from is not the version's time.
            with deadline.paused():
                await process.start(source, name, _LOAD, forks=True)
            process.begin(self._spec(path, recorded, share=share).parts())
            ready = Ready.of(await process.wait_ready(deadline), answers=len(recorded))
        except BaseException:
            await _discard(process)
            raise
        if ready.unshared is not None:
            process.close_forks()
        return ready

    async def _fetch(self, deadline: Deadline) -> tuple[str, Source]:
        """Where the version's files are, and what its processes come from. The files are downloaded
        in a process of its own, unless that has been done and nobody has removed them."""
        async with self._fetching:
            if self._path is not None and self._source is not None and self._path.exists():
                return str(self._path), self._source
            # Until it is done, what is there is not all of it.
            self._path = None
            spec = DownloadSpec(
                load_uri=self._model.load_uri,
                directory=str(self._directory),
                registered=self._model.version is not None,
            )
            process = ModelProcess(self._model.display, phase="download")
            try:
                with deadline.paused():
                    await process.start(self._environment, "download", _DOWNLOAD)
                process.begin(spec.parts())
                path, needed = await process.wait_ready(deadline)
            except BaseException:
                await _discard(process)
                raise
            self._run(process.stop())
            self._path = Path(str(path, "utf-8"))
            if self._source is None:
                modules = tuple(orjson.loads(needed)) if self._settings.preload is None else ()
                self._source = self._environment.take(modules, nice=self._replaces)
            return str(self._path), self._source

    def _spec(self, path: str, recorded: tuple[RecordedRequest, ...], *, share: bool) -> WorkerSpec:
        settings = self._settings
        return WorkerSpec(
            path=path,
            directory=str(self._directory),
            share=share,
            threads=self._threads,
            batching=settings.batching,
            merged_formats=self.ready.merged_formats if self.ready else None,
            concurrency=settings.concurrency,
            slots=self.ready.slots if self.ready and self.ready.waits is not None else None,
            max_batch_rows=settings.max_batch_rows,
            rehearse=self._rehearse,
            rehearsal_seconds=settings.rehearsal_seconds,
            # By then one of them has taken longer than a request may.
            hang_seconds=settings.rehearsal_seconds + settings.request_timeout_seconds,
            max_failures=settings.rehearsal_max_failures,
            recorded=recorded,
            replay_always=settings.rehearsal_requests is not None,
            example_decides=self._example_decides,
            only_recorded=self._only_recorded,
            sandbox=settings.sandbox,
            writable=(
                *settings.sandbox_writable,
                *tracking_store(settings.mlflow_tracking_uri),
            ),
        )

    def _tell_of_example(self, ready: Ready) -> None:
        """Log that the model fails on its own example, unless its first process did so too."""
        known = self.ready is not None and self.ready.example_failed is not None
        if ready.example_failed is not None and not known:
            log.warning("example_failed", version=self._model.display, **ready.example_failed)

    def _template_lost(self) -> None:
        """Make another one; until then, workers that are replaced load the version themselves."""
        lost, self._template = self._template, None
        if lost is not None:
            self._replacing = self._run(self._replace_template(lost))

    async def _replace_template(self, lost: Template) -> None:
        await lost.wait_ended()
        pause = self._template_losses.note(self._loop.time())
        while True:
            await asyncio.sleep(pause)
            process = ModelProcess(self._model.display)
            try:
                ready = await self._load(process, (), share=True)
                break
            except LoadFailed as error:
                pause = self._template_losses.note(self._loop.time())
                log.error(
                    "template_not_replaced",
                    version=self._model.display,
                    phase=error.phase,
                    error=str(error),
                    retry_in_seconds=pause,
                    **error.details,
                )
        self.unshared = ready.unshared
        if ready.unshared is not None:
            await _discard(process)
            return
        self._template = Template(process, self._environment, self._template_lost)
        log.info(
            "template_replaced", version=self._model.display, old_pid=lost.pid, pid=process.pid
        )

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _discard(process: ModelProcess) -> None:
    process.kill()
    await asyncio.shield(process.stop())
