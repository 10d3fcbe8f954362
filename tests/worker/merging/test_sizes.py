"""How many rows a prediction takes best, learnt from what predictions took."""

from collections.abc import Callable

import pytest

from server.worker.merging.sizes import BatchSizes


def settle(sizes: BatchSizes, seconds: Callable[[int], float], predictions: int = 200) -> int:
    """Predict as many rows as are best, over and over; return how many that comes to."""
    sizes.note(1, seconds(1))
    for _ in range(predictions):
        rows = sizes.best()
        sizes.note(rows, seconds(rows))
    return sizes.best()


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        (lambda rows: 0.005, {256}),
        (lambda rows: 0.001 + 1e-5 * rows, {256}),
        # More rows bring nothing.
        (lambda rows: 0.001 * rows, {1, 2}),
        (lambda rows: 0.0005 * max(rows, 8), {8}),
        # What would keep requests for more than twice as long as alone, and 10 ms.
        (lambda rows: 0.010 + 0.001 * rows, {16}),
        (lambda rows: 0.2 + 0.1 * rows, {4}),
    ],
    ids=["constant", "little more", "linear", "constant up to 8", "bounded", "slow and bounded"],
)
def test_it_finds_where_rows_per_second_stop_growing(
    seconds: Callable[[int], float], best: set[int]
) -> None:
    assert settle(BatchSizes(256), seconds) in best


def test_there_are_never_more_rows_than_may_be() -> None:
    assert BatchSizes(4).best() == 4
    assert settle(BatchSizes(100), lambda rows: 0.001) == 100


def test_what_was_slow_once_is_tried_again() -> None:
    sizes = BatchSizes(256)
    settle(sizes, lambda rows: 0.001)
    for _ in range(10):
        sizes.note(256, 3.0)
    assert sizes.best() < 256
    assert settle(sizes, lambda rows: 0.001, predictions=5000) == 256


def test_a_model_that_becomes_slower_gets_fewer_rows() -> None:
    sizes = BatchSizes(256)
    assert settle(sizes, lambda rows: 0.002) == 256
    assert settle(sizes, lambda rows: 0.001 * max(rows, 8)) == 8


@pytest.mark.parametrize(("rows", "share"), [(1, 1), (16, 16), (17, 9), (40, 14)])
def test_requests_are_cut_evenly_into_as_few_predictions_as_are_best(rows: int, share: int) -> None:
    assert BatchSizes(16).share(rows) == share
