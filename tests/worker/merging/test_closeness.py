"""When two answers say the same: how far numbers may be apart."""

import json
from typing import Any

import numpy as np
import pytest

from server.worker.merging.closeness import same_bodies, same_body


def same(left: Any, right: Any) -> bool:
    """Whether two answers to one row say the same."""
    return same_body(*(json.dumps({"predictions": [one]}).encode() for one in (left, right)))


def float32(*numbers: float) -> list[float]:
    """The nearest float32 numbers, as JSON has them."""
    return [float(number) for number in np.array(numbers, dtype=np.float32)]


# As two libraries rounded the same small probability, the others being large.
SMALL = float32(1.937e-6, 0.3, 0.7), float32(1.967e-6, 0.3, 0.7)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        SMALL,
        ([1.5, 2.5, 1e-16], [1.5, 2.5, 2e-16]),
        ([[1.0, 2.0], [3.0, 1e-14]], [[1.0, 2.0], [3.0, 3e-14]]),
        (float32(1000.0, -250.0), float32(1000.0005, -250.0)),
        ({"a": 1.0, "b": [1.0, 1e-13]}, {"b": [1.0, 2e-13], "a": 1.0}),
        (float32(1.0), float32(1.0000005)),
        (0.1 + 0.2, 0.3),
        ([1.000001, 2.0], [1.0, 2.0]),
        (["a", 1, None, True, {}], ["a", 1, None, True, {}]),
    ],
)
def test_rounding_is_no_difference(left: Any, right: Any) -> None:
    assert same(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        # Beyond what rounding explains.
        (float32(1.0, 0.5), float32(1.0, 0.50002)),
        ([1.5, 2.5, 1e-6], [1.5, 2.5, 1.1e-6]),
        (float32(1.0), float32(1.00001)),
        (1e-12, 2e-12),
        (0.0, 1e-9),
        # What stands beside larger numbers must not hide behind them.
        (float32(1e7, 1.0), float32(1e7, 0.125)),
        ({"price": 1e6, "share": 1.0}, {"price": 1e6, "share": 0.9}),
        # As large, but other values, types and shapes.
        (1, 1.0),
        (1, True),
        ([1.0, 2.0], [2.0, 1.0]),
        ([1.0, None], [1.0, 2.0]),
        ([1.0], [1.0, 1.0]),
        ({"a": 1.0}, {"b": 1.0}),
        ("1", 1),
        ([[1.0, 2.0]], [[1.0], [2.0]]),
    ],
)
def test_anything_else_is_one(left: Any, right: Any) -> None:
    assert not same(left, right)


def test_a_number_may_hide_behind_larger_ones_only_where_it_is_always_small() -> None:
    def bodies(*rows: Any) -> list[bytes]:
        return [json.dumps({"predictions": [row]}).encode() for row in rows]

    left, right = bodies(float32(1e4, 1e-3)), bodies(float32(1e4, 1.05e-3))
    assert not same_bodies(left, right)
    # Where others have it as large as that, it is next to nothing.
    assert same_bodies(left, right, bodies(float32(1e4, 50.0)))


def test_a_number_that_stands_alone_is_compared_by_the_largest_in_its_place() -> None:
    def bodies(*rows: Any) -> list[bytes]:
        return [json.dumps({"predictions": [row]}).encode() for row in rows]

    # Of a sum that comes near zero, as another order of adding up has it.
    left, right = bodies(*float32(1e-4)), bodies(*float32(1.002e-4))
    assert not same_bodies(left, right)
    assert same_bodies(left, right, bodies(*float32(1.5)))
    assert not same_bodies(bodies(1e-4), bodies(1.002e-4), bodies(1.1))


def test_numbers_of_records_are_compared_with_their_own_column() -> None:
    alone = [{"price": 1e6 + n, "share": 0.5} for n in range(4)]
    together = [{"price": 1e6 + n, "share": 0.5 + 1e-4} for n in range(4)]
    left, right = (
        [json.dumps({"predictions": [row]}).encode() for row in rows] for rows in (alone, together)
    )
    assert not same_bodies(left, right)
    assert same_bodies(left, list(left))


def test_answers_of_many_objects_are_compared_one_by_one() -> None:
    rows = [{"x": float(n), "y": [float(n)]} for n in range(500)]
    whole = json.dumps({"predictions": rows}).encode()
    other = json.dumps({"predictions": [*rows[:-1], {"x": 499.0, "y": [499.1]}]}).encode()
    assert same_body(whole, whole.replace(b" ", b""))
    assert not same_body(whole, other)
