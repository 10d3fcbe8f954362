"""What clients notice while others post requests that end the model's process."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.ground import Checkout, Ground, Server, good_texts, say
from benchmarks.models import Traits
from benchmarks.samples import Samples
from benchmarks.summaries import latencies

CONNECTIONS = 16
RATE = 800.0
"""Each of the clients every 20 ms."""

_MODEL = "with-killers"
_REPEATED_RATE = 10.0
_DIFFERENT_RATE = 1.0
_KILLER_CONNECTIONS = 32
_TEXTS = 64
_WARM_UP_SECONDS = 2.0
_LONGEST_SECONDS = 600.0


def measure(
    ground: Ground, checkouts: Sequence[Checkout], seconds: float
) -> dict[str, dict[str, Any]]:
    """Post killers to each checkout's server: the same one ten times a second, and one a second
    that was not there before. The version serves in another's place, so it can be given up."""
    ground.add(_MODEL, Traits(), versions=2)
    results = {}
    for checkout in checkouts:
        ground.registry.promote(_MODEL, 1)
        with ground.serving(checkout, _MODEL) as server:
            ground.registry.promote(_MODEL, 2)
            server.reload()
            result = _measure(ground, server, seconds)
        results[checkout.title] = result
        good = result["good"]
        say(
            f"Killers, {checkout.title}: {good['failures']} of {good['requests']} good ones failed,"
            f" p99 {good['p99_ms']:.1f} ms, max {good['max_ms']:.1f} ms"
        )
    return results


def _measure(ground: Ground, server: Server, seconds: float) -> dict[str, Any]:
    different = [f"killer {number}" for number in range(round(seconds * _DIFFERENT_RATE) + 1)]
    with ground.load(
        server,
        good_texts(_TEXTS),
        rate=RATE,
        seconds=_LONGEST_SECONDS,
        connections=CONNECTIONS,
    ) as good:
        time.sleep(_WARM_UP_SECONDS)
        began = time.monotonic()
        with (
            ground.load(
                server,
                ["killer"],
                rate=_REPEATED_RATE,
                seconds=seconds,
                connections=_KILLER_CONNECTIONS,
            ) as repeating,
            ground.load(
                server,
                different,
                rate=_DIFFERENT_RATE,
                seconds=seconds,
                connections=_KILLER_CONNECTIONS,
            ) as differing,
        ):
            repeated, differed = repeating.samples(), differing.samples()
        good.stop()
        return {
            "good": _group(good.samples(), began),
            "repeated_statuses": _statuses(repeated),
            "different_statuses": _statuses(differed),
            "workers_lost": server.log.count("worker_exited"),
            "given_up": server.log.count("version_given_up"),
        }


def _group(samples: Samples, began: float) -> dict[str, Any]:
    """The good ones, from the first killer on."""
    known = [i for i, due in enumerate(samples.due) if due >= began]
    return {
        **latencies(samples.latency[i] for i in known),
        "failures": sum(samples.status[i] != 200 for i in known),
    }


def _statuses(samples: Samples) -> dict[str, int]:
    """How often each status was answered; 0 is none."""
    return {f"{status}": count for status, count in sorted(Counter(samples.status).items())}
