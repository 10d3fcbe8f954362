"""What each answer of the registry means to the watcher."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from watcher.job import Watcher
from watcher.retries import RetryPauses
from watcher.versions import (
    ModelVersion,
    RegistryUnreachable,
    VersionMissing,
    VersionPending,
)


def version(number: int, run_id: str = "run", stage: str = "Production") -> ModelVersion:
    """A version as the registry describes it."""
    return ModelVersion(
        load_uri=f"models:/demo/{number}",
        source=f"/models/{run_id}",
        version=str(number),
        run_id=run_id,
        stage=stage,
    )


Reply = ModelVersion | VersionMissing | VersionPending | RegistryUnreachable


class Setup:
    """A watcher between a registry and a target that do what the test says.

    Attributes:
        reply: What the registry answers.
        works: Whether versions load.
        serving: What the target serves.
        followed: How often the target was told to follow.
        polls: How often the registry was asked.
    """

    def __init__(self, interval: float = 10.0, *, moves: bool = True) -> None:
        self.reply: Reply = version(1)
        self.works = True
        self.serving: ModelVersion | None = version(1)
        self.followed = 0
        self.now = 0.0
        self.asked = asyncio.Event()
        self.polls = 0
        self.retries = RetryPauses(interval or 1.0, lambda: self.now)
        self.watcher = Watcher(self.look_up, self, self.retries, interval, moves=moves)

    def serve_nothing(self) -> None:
        """Be a target whose first version is still to come."""
        self.serving = None

    async def look_up(self) -> ModelVersion:
        self.asked.set()
        self.polls += 1
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def follow(self) -> None:
        self.followed += 1
        assert isinstance(self.reply, ModelVersion)
        if self.works:
            self.serving = self.reply
        else:
            self.retries.failed(self.reply.identity)

    def refresh(self, version: ModelVersion) -> None:
        assert self.serving is not None
        assert self.serving.identity == version.identity
        self.serving = version

    async def poll(self, times: int = 1) -> list[dict[str, Any]]:
        """Poll so often and return what was logged above debug."""
        with capture_logs() as logs:
            for _ in range(times):
                await self.watcher.poll()
        return [dict(entry) for entry in logs if entry["log_level"] != "debug"]

    @property
    def outcome(self) -> str:
        """How `/info` calls what the last poll found."""
        return str(self.watcher.state()["last_outcome"])


@pytest.fixture
async def setup() -> Setup:
    return Setup()


def events(logs: list[dict[str, Any]]) -> list[str]:
    """Their names."""
    return [entry["event"] for entry in logs]


async def test_the_same_version_is_nothing(setup: Setup) -> None:
    assert await setup.poll(3) == []
    assert (setup.followed, setup.outcome) == (0, "unchanged")
    assert not setup.watcher.problem


async def test_the_same_version_in_another_stage_is_only_noted(setup: Setup) -> None:
    setup.reply = version(1, stage="Archived")
    assert await setup.poll() == []
    assert setup.followed == 0
    assert setup.serving is not None
    assert setup.serving.stage == "Archived"


@pytest.mark.parametrize(
    ("serving", "found"),
    [
        (version(1), version(2)),
        (version(2), version(1)),
        (version(1), version(1, run_id="another run")),
    ],
    ids=["promotion", "rollback", "deleted and made anew"],
)
async def test_another_version_is_announced_and_followed(
    setup: Setup, serving: ModelVersion, found: ModelVersion
) -> None:
    setup.serving, setup.reply = serving, found
    logs = await setup.poll()
    assert events(logs) == ["version_moved"]
    assert (logs[0]["old_version"], logs[0]["new_version"]) == (serving.display, found.display)
    assert (setup.followed, setup.outcome, setup.serving) == (1, "moved", found)


async def test_the_first_version_is_followed_without_a_move(setup: Setup) -> None:
    setup.serve_nothing()
    assert await setup.poll() == []
    assert (setup.followed, setup.serving) == (1, version(1))


async def test_a_version_that_is_gone_is_told_once(setup: Setup) -> None:
    setup.reply = VersionMissing("nothing in Production")
    logs = await setup.poll(3)
    assert events(logs) == ["version_missing"]
    assert (logs[0]["error"], logs[0]["serving_version"]) == ("nothing in Production", "v1")
    assert setup.watcher.problem == "nothing in Production"
    assert (setup.followed, setup.outcome) == (0, "missing")

    setup.reply = version(1)
    assert await setup.poll() == []
    assert not setup.watcher.problem
    setup.reply = VersionMissing("nothing in Production")
    assert events(await setup.poll(2)) == ["version_missing"]


async def test_another_reason_why_it_is_gone_is_told_as_well(setup: Setup) -> None:
    setup.reply = VersionMissing("nothing in Production")
    await setup.poll()
    setup.reply = VersionMissing("there is no such model")
    assert events(await setup.poll(2)) == ["version_missing"]


async def test_a_version_that_is_being_registered_is_told_once_and_asked_for_until_it_is_there(
    setup: Setup,
) -> None:
    setup.reply = VersionPending("version 2 is still being registered")
    logs = await setup.poll(3)
    assert events(logs) == ["version_pending"]
    assert (logs[0]["error"], logs[0]["serving_version"]) == (str(setup.reply), "v1")
    assert setup.watcher.problem == "version 2 is still being registered"
    assert (setup.followed, setup.outcome) == (0, "pending")

    setup.reply = version(2)
    assert events(await setup.poll()) == ["version_moved"]
    assert setup.serving == version(2)
    assert setup.watcher.problem is None


async def test_what_is_missing_is_not_waited_for_any_more(setup: Setup) -> None:
    setup.reply = VersionPending("version 3 is still being registered")
    assert events(await setup.poll(2)) == ["version_pending"]
    setup.reply = VersionMissing("nothing in Production")
    await setup.poll()
    assert setup.watcher.problem == "nothing in Production"


async def test_an_outage_is_told_once_at_each_end(setup: Setup) -> None:
    setup.reply = RegistryUnreachable("refused")
    logs = await setup.poll(4)
    assert events(logs) == ["registry_unreachable"]
    assert (logs[0]["error"], logs[0]["serving_version"]) == ("refused", "v1")
    assert "refused" in str(setup.watcher.problem)
    assert (setup.followed, setup.outcome) == (0, "unreachable")

    setup.reply = version(1)
    logs = await setup.poll(2)
    assert events(logs) == ["registry_recovered"]
    assert logs[0]["failed_polls"] == 4
    assert not setup.watcher.problem


async def test_an_outage_does_not_end_what_was_missing_before(setup: Setup) -> None:
    setup.reply = VersionMissing("nothing in Production")
    await setup.poll()
    setup.reply = RegistryUnreachable("refused")
    await setup.poll()
    setup.reply = VersionMissing("nothing in Production")
    assert events(await setup.poll(2)) == ["registry_recovered"]
    assert setup.watcher.problem == "nothing in Production"


async def test_a_version_that_fails_is_announced_once_and_tried_with_pauses(
    setup: Setup,
) -> None:
    setup.works = False
    setup.reply = version(2)
    assert events(await setup.poll(3)) == ["version_moved"]
    assert (setup.followed, setup.outcome) == (1, "waiting to retry")
    setup.now += 10
    assert await setup.poll(2) == []
    assert setup.followed == 2
    setup.now += 10
    await setup.poll()
    assert setup.followed == 2

    # The registry moving makes every version due.
    setup.reply = version(3)
    assert events(await setup.poll()) == ["version_moved"]
    assert setup.followed == 3
    setup.reply = version(2)
    assert events(await setup.poll()) == ["version_moved"]
    assert setup.followed == 4


async def test_a_version_that_was_given_back_may_be_promoted_again(setup: Setup) -> None:
    setup.works = False
    setup.reply = version(2)
    await setup.poll()
    setup.reply = version(1)
    await setup.poll()
    setup.works = True
    setup.reply = version(2)
    assert events(await setup.poll()) == ["version_moved"]
    assert setup.serving == version(2)


async def polls_after_start(setup: Setup, count: int) -> None:
    """Start the watcher's schedule, and wait until it has polled so often."""
    setup.watcher.start()
    try:
        async with asyncio.timeout(10):
            for _ in range(count):
                setup.asked.clear()
                await setup.asked.wait()
    finally:
        setup.watcher.stop()


async def polls_of_another(interval: float, count: int) -> None:
    """Wait for so many polls of a watcher with this interval that nothing has paused."""
    await polls_after_start(Setup(interval), count)


async def test_it_polls_at_once() -> None:
    await polls_after_start(Setup(interval=3600), 1)


async def test_it_polls_at_every_interval() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await polls_after_start(Setup(interval=0.05), 4)
    assert loop.time() - started > 0.1


async def test_a_paused_watcher_begins_no_further_poll() -> None:
    setup = Setup(interval=0.02)
    setup.watcher.start()
    await setup.asked.wait()
    setup.watcher.pause()
    # A poll that has begun goes on.
    await asyncio.sleep(0)
    polls = setup.polls
    await polls_of_another(0.02, 5)
    assert setup.polls == polls
    setup.watcher.stop()


@pytest.mark.parametrize(
    "make", [lambda: Setup(0.0), lambda: Setup(0.02, moves=False)], ids=["off", "nothing moves"]
)
async def test_where_nothing_is_watched_it_polls_until_something_serves(
    make: Callable[[], Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watcher.job.POLL_INTERVAL_BEFORE_FIRST_LOAD_SECONDS", 0.02)
    setup = make()
    setup.serve_nothing()
    setup.watcher.start()
    async with asyncio.timeout(10):
        while setup.outcome != "moved":
            await asyncio.sleep(0.01)
    polls = setup.polls
    await polls_of_another(0.02, 5)
    assert setup.polls == polls
    setup.watcher.stop()
    assert setup.serving == version(1)
    assert setup.watcher.state()["enabled"] is False


def interval(setup: Setup) -> float:
    """Seconds between the polls that are scheduled now."""
    job = setup.watcher._job
    assert job is not None
    seconds: float = job.trigger.interval.total_seconds()
    return seconds


async def test_polls_back_off_to_a_minute_while_the_registry_is_away() -> None:
    setup = Setup(interval=10)
    setup.watcher.start()
    await setup.asked.wait()
    assert interval(setup) == 10
    setup.reply = RegistryUnreachable("refused")
    await setup.poll(2)
    assert 20 <= interval(setup) <= 40
    await setup.poll(2000)
    assert interval(setup) == 60
    setup.reply = version(1)
    await setup.poll()
    assert interval(setup) == 10
    setup.watcher.stop()


async def test_a_longer_interval_than_a_minute_is_kept_while_the_registry_is_away() -> None:
    setup = Setup(interval=300)
    setup.watcher.start()
    await setup.asked.wait()
    setup.reply = RegistryUnreachable("refused")
    await setup.poll(5)
    assert interval(setup) == 300
    setup.watcher.stop()


async def test_until_something_serves_it_asks_every_two_seconds() -> None:
    setup = Setup(interval=300)
    setup.serve_nothing()
    setup.reply = VersionMissing("nothing in Production")
    setup.watcher.start()
    await setup.asked.wait()
    await setup.poll()
    assert interval(setup) == 2
    setup.reply = version(1)
    await setup.poll()
    assert interval(setup) == 300
    setup.watcher.stop()


async def test_stopping_in_the_middle_of_a_poll_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Setup()
    ended = asyncio.Event()

    async def hang() -> ModelVersion:
        setup.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    setup.watcher = Watcher(hang, setup, setup.retries, 10.0, moves=True)
    setup.watcher.start()
    await setup.asked.wait()
    setup.watcher.stop()
    async with asyncio.timeout(10):
        await ended.wait()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []
