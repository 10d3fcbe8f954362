"""What clients notice when a worker is killed whose model takes long to load."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.ground import Checkout, Ground, Server, good_texts, say
from benchmarks.models import Traits
from benchmarks.samples import Samples
from benchmarks.summaries import Spread

CONNECTIONS = 16
PROBES_PER_SECOND = 200.0
"""Requests that are due whether or not others are answered: they tell when there is a worker again,
as clients that wait for the dead one's answers don't ask."""

_MODEL = "slow-to-load"
_PREDICT_SECONDS = 0.01
"""So that nearly all clients have a request in the worker when it dies."""

_TEXTS = 64
_WARM_UP_SECONDS = 2.0
_STEADY_SECONDS = 2.0
_REPLACED_SECONDS = 120.0
_LONGEST_SECONDS = 1200.0
_AFFECTED_SECONDS = 1.0


def measure(
    ground: Ground, checkouts: Sequence[Checkout], load_seconds: float, kills: int
) -> dict[str, dict[str, Any]]:
    """Kill the only worker of each checkout's server several times, under clients that always have
    a request under way, and probes."""
    ground.add(_MODEL, Traits(load_seconds=load_seconds, predict_seconds=_PREDICT_SECONDS))
    results = {}
    for checkout in checkouts:
        with ground.serving(checkout, _MODEL) as server:
            result = _measure(ground, server, kills)
        results[checkout.title] = result
        latest = 1000 * result["latest_seconds"]["high"]
        say(f"{kills} kills, {checkout.title}: {result['failures']} failures, {latest:.0f} ms")
    return results


def _measure(ground: Ground, server: Server, kills: int) -> dict[str, Any]:
    texts = good_texts(_TEXTS)
    deaths = []
    replaced = []
    with (
        ground.load(
            server, texts, rate=0, seconds=_LONGEST_SECONDS, connections=CONNECTIONS
        ) as load,
        ground.load(server, texts, rate=PROBES_PER_SECOND, seconds=_LONGEST_SECONDS) as probing,
    ):
        time.sleep(_WARM_UP_SECONDS)
        for _ in range(kills):
            died = server.kill_worker()
            deaths.append(died)
            replaced.append(server.log.wait_for("worker_replaced", died, _REPLACED_SECONDS) - died)
            time.sleep(_STEADY_SECONDS)
        load.stop()
        probing.stop()
        samples, probes = load.samples(), probing.samples()
    return {
        "kills": kills,
        "requests": len(samples) + len(probes),
        "failures": sum(status != 200 for status in (*samples.status, *probes.status)),
        "in_flight": Spread.of(in_flight(samples, died) for died in deaths).to_json(),
        # The clients' alone: probes that became due in a long stall wait for one another.
        "latest_seconds": Spread.of(latest_wait(samples, died) for died in deaths).to_json(),
        "first_answer_seconds": Spread.of(
            min(first_answer(samples, died), first_answer(probes, died)) for died in deaths
        ).to_json(),
        "replaced_seconds": Spread.of(replaced).to_json(),
    }


def in_flight(samples: Samples, died: float) -> int:
    """How many requests were under way at the death."""
    return sum(due <= died < done for due, done in _spans(samples))


def latest_wait(samples: Samples, died: float) -> float:
    """The most seconds that a request waited from the death on, or from its own beginning: of those
    in flight at the death or begun within a second of it."""
    end = died + _AFFECTED_SECONDS
    return max(
        done - max(due, died) for due, done in _spans(samples) if due <= end and done >= died
    )


def first_answer(samples: Samples, died: float) -> float:
    """Seconds from the death to the first good answer to a request begun after it: which is none
    that the dead worker left behind."""
    answers = [
        done
        for (due, done), status in zip(_spans(samples), samples.status, strict=True)
        if due > died and status == 200
    ]
    if not answers:
        raise BenchmarkError("nothing was answered after a worker was killed")
    return min(answers) - died


def _spans(samples: Samples) -> Iterator[tuple[float, float]]:
    """When each request began, and when it was answered."""
    for due, latency in zip(samples.due, samples.latency, strict=True):
        yield due, due + latency
