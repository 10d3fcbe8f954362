"""How long a version needs, after it was promoted under load, until it is as fast as the one
before."""

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.ground import say
from benchmarks.kinds.contest import Contest, merging
from benchmarks.openloop import OpenLoop
from benchmarks.openloop import Running as RunningLoad
from benchmarks.samples import Samples, good_spans

CLIENTS = 32
BACK = 0.8
"""Of what was answered a second before."""

_WINDOW_SECONDS = 1.0
_STEP_SECONDS = 0.1
_LONGEST_SECONDS = 300.0
_PATIENCE_SECONDS = 60.0


def measure_promotion(
    contest: Contest, before_seconds: float, after_seconds: float
) -> dict[str, Any]:
    """Promote the second version of the model to each checkout's server, and the first one back."""
    return {
        checkout.title: _measure(contest, index, before_seconds, after_seconds)
        for index, checkout in enumerate(contest.checkouts)
    }


def _measure(
    contest: Contest, index: int, before_seconds: float, after_seconds: float
) -> dict[str, Any]:
    ground, checkout = contest.ground, contest.checkouts[index]
    registry = ground.registry
    registry.promote(contest.name, 1)
    with ground.serving(checkout, contest.name, python=contest.python) as server:
        load = OpenLoop(
            server.port,
            0,
            _LONGEST_SECONDS,
            str(contest.bodies()),
            str(ground.path("samples.json")),
            connections=CLIENTS,
            patience_seconds=_PATIENCE_SECONDS,
        )
        with RunningLoad(load) as running:
            # The first half of it is there to learn.
            time.sleep(2 * before_seconds)
            registry.promote(contest.name, 2)
            asked = time.monotonic()
            server.reload()
            time.sleep(after_seconds)
            running.stop()
            samples = running.samples()
        found = merging(server.info())
    registry.promote(contest.name, 1)
    result = summary(samples, asked, before_seconds)
    say(
        f"{contest.name}, promoted, {checkout.title}: {result['before']:,.0f} requests/s before,"
        f" back after {result['back_seconds']:.1f} s"
    )
    return {**result, "merging": found}


def summary(samples: Samples, asked: float, before_seconds: float) -> dict[str, Any]:
    """What became of the rate of good answers.

    Args:
        samples: Of the whole load.
        asked: When the second version was asked for, by the monotonic clock.
        before_seconds: How long before that counts.

    Returns:
        `before`: good answers a second then. `back_seconds`: from the first answer of the second
        version to the beginning of the first second in which there are BACK times as many; all the
        time that there was if there is none. `failures`: of all requests.

    Raises:
        BenchmarkError: the second version answered nothing.
    """
    done = sorted(end for _, end in good_spans(samples))
    second = [
        due + latency
        for due, latency, version in zip(samples.due, samples.latency, samples.version, strict=True)
        if version == 2
    ]
    if not second:
        raise BenchmarkError("no request was answered by the version that was promoted")
    before = _count(done, asked - before_seconds, asked) / before_seconds
    swapped = min(second)
    return {
        "before": before,
        "swap_seconds": swapped - asked,
        "back_seconds": _back(done, swapped, BACK * before),
        "failures": sum(status != 200 for status in samples.status),
    }


def _back(done: Sequence[float], swapped: float, rate: float) -> float:
    last = done[-1] - _WINDOW_SECONDS
    steps = max(0, int((last - swapped) / _STEP_SECONDS) + 1)
    for step in range(steps):
        begin = swapped + step * _STEP_SECONDS
        if _count(done, begin, begin + _WINDOW_SECONDS) >= rate * _WINDOW_SECONDS:
            return step * _STEP_SECONDS
    return done[-1] - swapped


def _count(done: Sequence[float], begin: float, end: float) -> int:
    return bisect_left(done, end) - bisect_left(done, begin)
