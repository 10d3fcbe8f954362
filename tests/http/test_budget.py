"""Who gets how much of the bytes in flight."""

from collections.abc import Callable
from functools import partial

from server.errors import TooMuchInFlight
from server.http.budget import UNCOUNTED, Budget, Hold

MEBIBYTE = 1024 * 1024


def refused(take: Callable[[], object]) -> bool:
    try:
        take()
    except TooMuchInFlight:
        return True
    return False


def test_what_is_held_is_given_back_with_what_it_is_for() -> None:
    budget = Budget(100 * MEBIBYTE)
    holds = [budget.hold(10 * MEBIBYTE), budget.hold(20 * MEBIBYTE)]
    assert budget.held == 30 * MEBIBYTE
    holds[0].resize(MEBIBYTE)
    assert budget.held == 21 * MEBIBYTE
    holds.clear()
    assert budget.held == 0


def test_one_alone_is_taken_however_large_it_is() -> None:
    budget = Budget(MEBIBYTE)
    hold = budget.hold(MEBIBYTE)
    hold.resize(5 * MEBIBYTE)
    assert budget.held == 5 * MEBIBYTE
    assert refused(partial(budget.hold, UNCOUNTED + 1))


def test_one_gets_half_of_what_the_others_leave() -> None:
    budget = Budget(100 * MEBIBYTE)
    first = budget.hold(20 * MEBIBYTE)
    assert refused(partial(budget.hold, 40 * MEBIBYTE + 1))
    assert budget.held == 20 * MEBIBYTE
    second = budget.hold(40 * MEBIBYTE)
    assert refused(partial(first.resize, 30 * MEBIBYTE + 1))
    first.resize(30 * MEBIBYTE)
    assert budget.held == 70 * MEBIBYTE
    del second
    assert budget.held == 30 * MEBIBYTE


def test_there_is_room_for_small_ones_beside_any_number_of_large_ones() -> None:
    budget = Budget(100 * MEBIBYTE)
    holds: list[Hold] = []
    for size in (64 * MEBIBYTE, 8 * MEBIBYTE, MEBIBYTE):
        for _ in range(1_000):
            if refused(partial(budget.check, size)):
                break
            holds.append(budget.hold(size))
    assert budget.held < budget.limit
    assert budget.hold(512 * 1024)
    # So small that it is not even counted.
    held = budget.held
    small = [budget.hold(UNCOUNTED) for _ in range(10_000)]
    assert budget.held == held
    del small


def test_what_is_there_is_counted_even_where_there_is_no_room() -> None:
    budget = Budget(MEBIBYTE)
    hold = budget.keep(3 * MEBIBYTE)
    assert budget.held == 3 * MEBIBYTE
    assert refused(partial(budget.check, UNCOUNTED + 1))
    hold.force(0)
    assert budget.held == 0
    budget.check(UNCOUNTED + 1)
