"""How often a version's workers may die."""

from collections.abc import Iterable

from server.serving.crashes import MOST_CRASHES, WINDOW_SECONDS, CrashRecord


def test_the_first_death_costs_no_pause_and_the_next_ones_more_and_more() -> None:
    crashes = CrashRecord()
    assert [crashes.note(float(now)) for now in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_deaths_of_more_than_a_minute_ago_are_forgotten() -> None:
    crashes = CrashRecord()
    crashes.note(0.0)
    assert crashes.note(WINDOW_SECONDS - 0.1) == 1.0
    assert crashes.note(2 * WINDOW_SECONDS) == 0.0


def test_five_deaths_within_a_minute_are_too_many() -> None:
    def too_many(*times: float) -> bool:
        crashes = CrashRecord()
        for now in times:
            crashes.note(now)
        return crashes.too_many

    assert MOST_CRASHES == 5
    assert not too_many(0, 1, 2, 3)
    assert too_many(0, 1, 2, 3, WINDOW_SECONDS - 1)
    assert not too_many(*(number * WINDOW_SECONDS / 4 for number in range(20)))


def test_where_starting_is_a_mere_fork_pauses_begin_only_after_too_many_deaths() -> None:
    crashes = CrashRecord()
    pauses = [crashes.note(float(now), forks=True) for now in range(9)]
    assert pauses == [0, 0, 0, 0, 0, 1, 2, 4, 8]


def is_at_fault(times: Iterable[float], answered: int, different: bool = True) -> bool:
    """Whether the version is, after requests that killed at these times."""
    crashes = CrashRecord()
    at_fault = False
    for number, now in enumerate(times):
        digest = str(number if different else 0).encode()
        at_fault = crashes.note_culprit(digest, now, answered)
        assert crashes.any_lately(now) == at_fault
    assert not crashes.too_many
    return at_fault


def test_five_different_requests_that_kill_are_the_version_s_fault() -> None:
    assert not is_at_fault(range(4), answered=0)
    assert is_at_fault(range(5), answered=0)
    assert not is_at_fault(range(50), answered=0, different=False)


def test_a_tenth_of_the_requests_or_fewer_is_not_the_version_s_fault() -> None:
    assert is_at_fault(range(5), answered=44)
    assert not is_at_fault(range(5), answered=45)
    assert is_at_fault(range(50), answered=449)
    assert not is_at_fault(range(50), answered=450)


def test_requests_that_killed_more_than_a_minute_ago_are_forgotten() -> None:
    assert not is_at_fault([0, 1, 2, 3, WINDOW_SECONDS], answered=0)
    assert is_at_fault([0, 1, 2, 3, WINDOW_SECONDS - 1], answered=0)


def test_a_version_at_fault_is_sound_again_a_minute_later() -> None:
    crashes = CrashRecord()
    for number in range(5):
        crashes.note_culprit(str(number).encode(), 0.0, 0)
    assert crashes.any_lately(WINDOW_SECONDS - 1)
    assert not crashes.any_lately(WINDOW_SECONDS)
