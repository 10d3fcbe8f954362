"""Trying random input on running servers, for a time, in a way that can be had again."""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

T = TypeVar("T")

# How many inputs come of one seed.
_ROUND = 50


def fuzz(
    check: Callable[[T], None], inputs: st.SearchStrategy[T], seed: int, seconds: float
) -> int:
    """Check random inputs, and return how many.

    Args:
        check: Raises if anything is wrong; the input is then made as small as that allows.
        seed: What the inputs come of.
        seconds: After how many no other one is checked.
    """
    checked = 0
    failed = False
    deadline = time.monotonic() + seconds

    def check_in_time(value: T) -> None:
        nonlocal checked, failed
        # What has failed is tried again for as long as it takes.
        if not failed and time.monotonic() > deadline:
            return
        checked += 1
        try:
            check(value)
        except BaseException:
            failed = True
            raise

    for number in itertools.count(seed):
        settings(
            max_examples=_ROUND,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )(seeded(number)(given(inputs)(check_in_time)))()
        if time.monotonic() > deadline:
            return checked
    raise AssertionError
