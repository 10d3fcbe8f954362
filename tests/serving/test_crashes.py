"""How often a version's workers may die."""

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
