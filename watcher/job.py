"""The job that polls the registry, and what each of its answers means."""

import asyncio
import enum
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from watcher.retries import RetryPauses
from watcher.versions import (
    ModelVersion,
    RegistryError,
    RegistryUnreachable,
    VersionMissing,
    VersionPending,
)

LONGEST_POLL_INTERVAL_SECONDS = 60.0
POLL_INTERVAL_BEFORE_FIRST_LOAD_SECONDS = 2.0
_JITTER = 0.1

log = structlog.get_logger("watcher")


class Target(Protocol):
    """What the watcher keeps in step with the registry."""

    @property
    def serving(self) -> ModelVersion | None:
        """The version that answers requests now, or None while there is none."""

    async def follow(self) -> None:
        """Swap to what the registry names. Failures are the target's to log."""

    def refresh(self, version: ModelVersion) -> None:
        """Take note of how the registry describes the version that serves already."""


class Outcome(enum.StrEnum):
    """What the last poll found."""

    UNCHANGED = "unchanged"
    MOVED = "moved"
    MISSING = "missing"
    PENDING = "pending"
    UNREACHABLE = "unreachable"
    WAITING_TO_RETRY = "waiting to retry"


class Watcher:
    """Polls the registry and has the target follow it.

    Args:
        look_up: Asks the registry, see `watcher.lookup.Lookup`.
        target: What follows the registry.
        retries: When a version that failed is due again.
        interval: Seconds between polls. 0 turns the watcher off as soon as something serves.
        moves: Whether the model URI can come to mean another version at all.
    """

    def __init__(
        self,
        look_up: Callable[[], Awaitable[ModelVersion]],
        target: Target,
        retries: RetryPauses,
        interval: float,
        *,
        moves: bool,
    ) -> None:
        self._look_up = look_up
        self._target = target
        self._retries = retries
        self._interval = interval
        self._keeps_polling = moves and interval > 0
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._job: Job | None = None
        self._last_poll: datetime | None = None
        self._last_outcome: Outcome | None = None
        self._failed_polls = 0
        # What it answered in place of a version.
        self._unnamed: RegistryError | None = None
        self._unreachable: str | None = None
        self._announced: tuple[object, object] | None = None

    def start(self) -> None:
        """Begin to poll, at once and then at every interval."""
        self._job = self._scheduler.add_job(
            self.poll,
            self._trigger(),
            id="registry-poll",
            name="poll the model registry",
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def pause(self) -> None:
        """Begin no further poll. One that is under way goes on."""
        if self._job is not None:
            self._scheduler.pause()

    def stop(self) -> None:
        """End the scheduler. A poll under way is cancelled: pause, and wait for the swap first."""
        if self._job is not None:
            self._job = None
            self._scheduler.shutdown(wait=False)

    def state(self) -> dict[str, Any]:
        """What `/info` shows of the watcher."""
        return {
            "enabled": self._keeps_polling,
            "interval_seconds": self._interval,
            "last_poll": self._last_poll and self._last_poll.isoformat(timespec="milliseconds"),
            "last_outcome": self._last_outcome,
        }

    @property
    def problem(self) -> str | None:
        """Why the registry named no version to load at the last poll, as far as anybody may be
        told, or None if it did."""
        unnamed = self._unnamed.public if self._unnamed is not None else None
        return self._unreachable or unnamed

    async def poll(self) -> None:
        """Ask the registry once and act on its answer."""
        try:
            outcome = await self._poll()
        except asyncio.CancelledError:
            if self._job is None:
                # The scheduler was shut down, and would log this as a failure of the job.
                return
            raise
        self._last_poll = datetime.now(UTC)
        self._last_outcome = outcome
        serves = self._target.serving is not None
        if serves and not self._keeps_polling:
            self.pause()
        elif self._job is not None:
            self._pace(serves)

    async def _poll(self) -> Outcome:
        try:
            found = await self._look_up()
        except RegistryUnreachable as error:
            if self._failed_polls == 0:
                log.warning("registry_unreachable", error=str(error), **self._serving_fields())
            self._failed_polls += 1
            self._unreachable = f"the model registry can't be reached: {error.public}"
            return Outcome.UNREACHABLE
        except VersionMissing as error:
            self._answered()
            if self._is_new(error):
                log.warning("version_missing", error=str(error), **self._serving_fields())
            return Outcome.MISSING
        except VersionPending as error:
            self._answered()
            if self._is_new(error):
                log.info("version_pending", error=str(error), **self._serving_fields())
            return Outcome.PENDING
        self._answered()
        self._unnamed = None
        return await self._follow(found)

    async def _follow(self, found: ModelVersion) -> Outcome:
        serving = self._target.serving
        self._retries.moved_to(found.identity)
        if serving is not None and serving.identity == found.identity:
            self._announced = None
            self._target.refresh(found)
            log.debug("version_unchanged", version=found.display)
            return Outcome.UNCHANGED
        if not self._retries.due(found.identity):
            return Outcome.WAITING_TO_RETRY
        move = (serving and serving.identity, found.identity)
        if serving is not None and move != self._announced:
            log.info("version_moved", old_version=serving.display, new_version=found.display)
        self._announced = move
        await self._target.follow()
        return Outcome.MOVED

    def _is_new(self, error: RegistryError) -> bool:
        """Whether the registry has just begun to answer so."""
        before, self._unnamed = self._unnamed, error
        return (type(before), str(before)) != (type(error), str(error))

    def _answered(self) -> None:
        if self._failed_polls:
            log.info("registry_recovered", failed_polls=self._failed_polls)
        self._failed_polls = 0
        self._unreachable = None

    def _serving_fields(self) -> dict[str, str | None]:
        serving = self._target.serving
        return {"serving_version": serving.display if serving else None}

    def _pace(self, serves: bool) -> None:
        """Poll less often while the registry is away, and often until something serves."""
        trigger = self._trigger(serves)
        if self._job is not None and trigger.interval != self._job.trigger.interval:
            self._job.reschedule(trigger)

    def _trigger(self, serves: bool = False) -> IntervalTrigger:
        seconds = self._interval
        if not serves:
            seconds = min(
                seconds or POLL_INTERVAL_BEFORE_FIRST_LOAD_SECONDS,
                POLL_INTERVAL_BEFORE_FIRST_LOAD_SECONDS,
            )
        elif self._failed_polls:
            longest = max(seconds, LONGEST_POLL_INTERVAL_SECONDS)
            seconds = min(longest, seconds * 2.0 ** min(self._failed_polls, 10))
        return IntervalTrigger(seconds=seconds, jitter=seconds * _JITTER)
