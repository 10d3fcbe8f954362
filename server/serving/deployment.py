"""The serving release, and the one way to change it."""

import asyncio
import contextvars
import gc
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from server.errors import (
    LoadFailed,
    RegistryDown,
    ReloadFailed,
    ServerStopping,
    VersionNotFound,
    VersionNotReady,
)
from server.processes.environment import Environment
from server.serving.fallback import Fallback
from server.serving.release import Release
from server.serving.reports import Reports
from server.serving.scratch import Scratch
from server.serving.swaps import Run, Swap, Trigger
from server.settings import Settings
from watcher.retries import RetryPauses
from watcher.versions import (
    ModelVersion,
    RegistryError,
    RegistryUnreachable,
    VersionMissing,
    VersionPending,
)

# A registry that moves faster than a model loads must not keep a version from serving for ever.
_MOST_MOVES_WHILE_LOADING = 5

_UNRESOLVED: Mapping[type[RegistryError], type[ReloadFailed]] = {
    VersionMissing: VersionNotFound,
    VersionPending: VersionNotReady,
    RegistryUnreachable: RegistryDown,
}

log = structlog.get_logger("server.serving.deployment")


class Deployment:
    """Owns the release that serves.

    Args:
        settings: The settings.
        look_up: Asks the registry what MODEL_URI means now.
        environment: Where processes come from.
        scratch: Where models are downloaded to.
        retries: Told of versions that fail.
        threads: What `THREAD_VARIABLES` are to be in a worker.

    Attributes:
        release: The release that serves; None while there is none.
        loaded_at: Since when.
        reports: How the swaps went.
        stopping: Whether the server has begun to stop.
    """

    def __init__(
        self,
        settings: Settings,
        look_up: Callable[[], Awaitable[ModelVersion]],
        environment: Environment,
        scratch: Scratch,
        retries: RetryPauses,
        threads: Mapping[str, str],
    ) -> None:
        self.release: Release | None = None
        self.loaded_at: datetime | None = None
        self.reports = Reports()
        self.stopping = False
        self._settings = settings
        self._look_up = look_up
        self._environment = environment
        self._scratch = scratch
        self._retries = retries
        self._threads = threads
        self._fallback = Fallback()
        self._lock = asyncio.Lock()
        self._lost_before = 0
        # By whether they skip the rehearsal.
        self._pending: dict[bool, Run] = {}
        self._swaps: set[asyncio.Task[Any]] = set()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def serving(self) -> ModelVersion | None:
        """The version that answers requests now."""
        return self.release.model if self.release else None

    @property
    def workers_lost(self) -> int:
        """How many workers have ended without being told to."""
        return self._lost_before + (self.release.workers_lost if self.release else 0)

    async def follow(self) -> None:
        """Swap to what the registry names, if that is not what serves already. Failures are logged
        and counted, not raised."""
        trigger = Trigger.STARTUP if self.release is None else Trigger.WATCHER
        try:
            await self.reload(trigger)
        except ReloadFailed as error:
            log.debug("follow_failed", phase=error.phase)

    def refresh(self, version: ModelVersion) -> None:
        """Take note of how the registry describes the serving version now."""
        if self.release is not None and self.release.model.identity == version.identity:
            self.release.model = version

    async def reload(
        self, trigger: Trigger, *, force: bool = False, request_id: str | None = None
    ) -> Swap:
        """Swap to what the registry names when its turn has come.

        Callers that come while another swap is under way share the next one, but for those who
        force, who share one of their own: so many callers cost at most three loads, nobody's force
        holds for anyone who did not ask for it, and the look-up that a caller's answer rests on
        began after it called. A manual reload loads the version afresh even where it is the one
        that serves.

        Args:
            trigger: What asks.
            force: Whether to skip the rehearsal.
            request_id: The request that asks, for the log.

        Raises:
            ReloadFailed: the swap did not happen; what served before serves on.
        """
        run = self._pending.get(force)
        if run is None:
            run = self._pending[force] = Run(force=force)
            # A context of its own: what the new workers log belongs to no request.
            run.task = asyncio.get_running_loop().create_task(
                self._when_free(run), context=contextvars.Context()
            )
            run.task.add_done_callback(self._swap_ended)
            self._swaps.add(run.task)
        run.add(trigger, request_id)
        assert run.task is not None
        # Whoever is cancelled here leaves the swap to the others.
        await asyncio.wait([run.task])
        if run.task.cancelled():
            raise self._stopping()
        return run.task.result()

    async def give_up_swaps(self) -> None:
        """End a swap that is under way, and begin no other."""
        self.stopping = True
        for task in self._swaps:
            task.cancel()
        await asyncio.gather(*self._swaps, return_exceptions=True)

    async def close(self) -> None:
        """Let the release that serves, and those that retire, answer what they hold, and end them.
        What is not answered within the drain timeout is refused."""
        await self.give_up_swaps()
        if self.release is not None:
            await self.release.drain(self._settings.drain_timeout_seconds)
            await self.release.stop()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def _stopping(self) -> ReloadFailed:
        return ServerStopping("start", "the server is stopping", self.serving, None)

    def _swap_ended(self, task: asyncio.Task[Any]) -> None:
        self._swaps.discard(task)
        # Those who asked may have gone; a failed reload was logged where it failed.
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ReloadFailed):
            log.error("swap_crashed", exc_info=error)

    async def _when_free(self, run: Run) -> Swap:
        async with self._lock:
            # Who calls from here on needs a look-up that begins later.
            del self._pending[run.force]
            if self.stopping:
                raise self._stopping()
            trigger = run.trigger
            try:
                swap = await self._swap(run)
            except ReloadFailed as error:
                self.reports.note(trigger, "failed", f"{error.phase}: {error.public}")
                raise
            self.reports.note(trigger, "swapped" if swap.version_changed else "unchanged")
            return swap

    async def _swap(self, run: Run) -> Swap:
        trigger = run.trigger
        old = self.serving
        for attempt in range(1, _MOST_MOVES_WHILE_LOADING + 1):
            version = await self._resolve(run)
            if trigger is not Trigger.MANUAL and old and old.identity == version.identity:
                return Swap(old, version)
            started = time.monotonic()
            try:
                candidate = await self._load(version, rehearse=not run.force)
            except LoadFailed as error:
                refusal = self._refused(run, error, version)
                if await self._has_moved_from(version):
                    continue
                raise refusal from error
            try:
                moved = attempt < _MOST_MOVES_WHILE_LOADING and await self._has_moved_from(version)
            except BaseException:
                await candidate.stop()
                raise
            if not moved and candidate.workers_alive:
                return self._publish(candidate, run, time.monotonic() - started)
            await candidate.stop()
            if not moved:
                died = LoadFailed("rehearsal", "its workers died before it served")
                raise self._refused(run, died, version)
        raise ReloadFailed("resolve", "the registry keeps moving to versions that fail", old, None)

    async def _resolve(self, run: Run) -> ModelVersion:
        try:
            return await self._look_up()
        except RegistryError as error:
            failure = _UNRESOLVED[type(error)]
            self.reports.failed(run, LoadFailed("resolve", str(error)), self.serving, None, None)
            unreachable = f"the model registry can't be reached: {error.public}"
            public = unreachable if isinstance(error, RegistryUnreachable) else error.public
            raise failure("resolve", str(error), self.serving, None, public) from error

    async def _load(self, version: ModelVersion, *, rehearse: bool) -> Release:
        if version.refusal is not None:
            details = f": {version.refusal_details}" if version.refusal_details else ""
            raise LoadFailed("resolve", version.refusal + details, public=version.refusal)
        try:
            directory = await asyncio.to_thread(self._scratch.new_directory, version.label)
        except OSError as error:
            raise LoadFailed("start", f"no directory can be made: {error.strerror}") from error
        serving = self.release if rehearse else None
        release = Release(
            version,
            self._settings,
            self._environment,
            self._threads,
            directory,
            serving.recent.snapshot() if serving else (),
            rehearse,
            self.release is not None and not self.release.fails_example_of(version),
            self._given_up,
        )
        await release.start()
        return release

    async def _has_moved_from(self, version: ModelVersion) -> bool:
        """Whether the registry names another version by now, or none. No answer is no reason to
        wait."""
        try:
            return (await self._look_up()).identity != version.identity
        except (VersionMissing, VersionPending):
            return True
        except RegistryUnreachable:
            return False

    def _publish(self, candidate: Release, run: Run, seconds: float) -> Swap:
        retired, self.release = self.release, candidate
        self.loaded_at = datetime.now(UTC)
        swap = Swap(
            retired.model if retired else None,
            candidate.model,
            candidate.answers_changed,
            candidate.answers_failed,
        )
        self.reports.swapped(run, swap, candidate, seconds)
        if retired is not None:
            # What no worker has begun with need not wait for the version that retires.
            retired.hand_over(candidate)
            self._lost_before += retired.workers_lost
            self._fallback.note(retired, swap)
            task = asyncio.get_running_loop().create_task(self._retire(retired))
            task.add_done_callback(self._retiring.discard)
            self._retiring.add(task)
        return swap

    async def _retire(self, release: Release) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            # At once: two copies of a model are in memory at most.
            group.create_task(release.end_template())
            group.create_task(release.drain(self._settings.drain_timeout_seconds))
        await release.stop()
        # Its objects refer to one another, and Python would let very many gather before it looks.
        gc.collect()
        seconds = round(time.monotonic() - started, 3)
        log.info("release_retired", version=release.model.display, seconds=seconds)

    def _given_up(self, release: Release) -> None:
        """Go back to the version before, if there is one; else its workers are tried again."""
        version = self._fallback.version
        if release is not self.release or version is None or self.stopping:
            return
        self._retries.give_up(release.model.identity)
        task = asyncio.get_running_loop().create_task(
            self._fall_back(release, version), context=contextvars.Context()
        )
        task.add_done_callback(self._swap_ended)
        self._swaps.add(task)

    async def _fall_back(self, failing: Release, version: ModelVersion) -> None:
        async with self._lock:
            if self.release is not failing:
                return
            log.error(
                "version_given_up",
                version=failing.model.display,
                fallback_version=version.display,
            )
            run = Run(force=True)
            run.add(Trigger.FALLBACK)
            started = time.monotonic()
            try:
                candidate = await self._load(version, rehearse=False)
            except LoadFailed as error:
                self.reports.failed(run, error, self.serving, version, None)
                self.reports.note(Trigger.FALLBACK, "failed", f"{error.phase}: {error.public}")
                return
            self._publish(candidate, run, time.monotonic() - started)
            self.reports.note(Trigger.FALLBACK, "swapped")
            self._fallback.spend()

    def _refused(self, run: Run, error: LoadFailed, version: ModelVersion) -> ReloadFailed:
        pause = self._retries.failed(version.identity)
        watches = self._settings.poll_interval_seconds > 0
        self.reports.failed(run, error, self.serving, version, pause if watches else None)
        return ReloadFailed(error.phase, str(error), self.serving, version, error.public)
