"""When a version that failed is tried again."""

import pytest

from tests.support.clock import Clock
from watcher.retries import LONGEST_PAUSE_SECONDS, RetryPauses
from watcher.versions import Identity

BROKEN: Identity = ("2", "run", "source")
OTHER: Identity = ("3", "run", "source")


@pytest.fixture
def retries(clock: Clock) -> RetryPauses:
    return RetryPauses(10.0, clock)


def test_a_version_that_never_failed_is_due(retries: RetryPauses) -> None:
    assert retries.due(BROKEN)


def test_a_version_that_failed_is_due_after_its_pause(retries: RetryPauses, clock: Clock) -> None:
    assert retries.failed(BROKEN) == 10.0
    assert not retries.due(BROKEN)
    clock.now += 9.9
    assert not retries.due(BROKEN)
    clock.now += 0.1
    assert retries.due(BROKEN)


def test_pauses_double_up_to_ten_minutes(retries: RetryPauses) -> None:
    pauses = [retries.failed(BROKEN) for _ in range(9)]
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert LONGEST_PAUSE_SECONDS == 600
    # A version may fail for months.
    for _ in range(2000):
        assert retries.failed(BROKEN) == 600


def test_another_version_is_due_at_once(retries: RetryPauses) -> None:
    retries.failed(BROKEN)
    assert retries.due(OTHER)
    assert retries.failed(OTHER) == 10.0


def test_the_registry_moving_away_and_back_makes_it_due(retries: RetryPauses) -> None:
    retries.failed(BROKEN)
    retries.failed(BROKEN)
    retries.moved_to(BROKEN)
    assert not retries.due(BROKEN)
    retries.moved_to(OTHER)
    retries.moved_to(BROKEN)
    assert retries.due(BROKEN)
    assert retries.failed(BROKEN) == 10.0


def test_a_version_that_was_given_up_is_not_due_until_the_registry_moves(
    retries: RetryPauses, clock: Clock
) -> None:
    retries.give_up(BROKEN)
    clock.now += 1e9
    assert not retries.due(BROKEN)
    retries.moved_to(OTHER)
    assert retries.due(BROKEN)


def test_giving_a_version_up_forgets_what_failed_before(retries: RetryPauses) -> None:
    for _ in range(5):
        retries.failed(OTHER)
    retries.give_up(BROKEN)
    assert retries.failed(BROKEN) == 10.0
