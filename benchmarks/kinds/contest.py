"""One model, and the servers that have their turns with it."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import median_seconds
from benchmarks.comparison import NOW
from benchmarks.ground import Checkout, Ground, info, say
from benchmarks.kinds.answers import require_equal
from benchmarks.kinds.requests import ROWS, Requests
from benchmarks.memory import pss_bytes
from benchmarks.servers import Competitor, mlflow_server, this_server
from benchmarks.summaries import Spread
from benchmarks.wrk import WrkResult, run_wrk

MLFLOW = "mlflow"

_WARM_UP_SECONDS = 2
_TOUCH_SECONDS = 1
_TOUCH_CLIENTS = 16


@dataclass(frozen=True, slots=True)
class Contest:
    """A model in Production, and who serves it.

    Attributes:
        ground: Where its registry is.
        name: The registered model's.
        requests: What it is asked.
        python: Of its environment.
        checkouts: Of this server, the one before first.
    """

    ground: Ground
    name: str
    requests: Requests
    python: Path
    checkouts: Sequence[Checkout]

    def competitors(self) -> dict[str, Competitor]:
        """The servers, by what results call them; `mlflow models serve` is the last."""
        settings = {"POLL_INTERVAL_SECONDS": "0"}
        own = {
            checkout.title: this_server(checkout.directory, python=self.python, **settings)
            for checkout in self.checkouts
        }
        return own | {MLFLOW: mlflow_server(self.python)}

    def bodies(self) -> Path:
        """A file of the requests of one row."""
        return self.ground.bodies(self.requests.bodies())


def measure_starts(contest: Contest, rounds: int) -> dict[str, Any]:
    """Seconds from starting a server until it is healthy, and what all its processes occupy after a
    second of load. One runs at a time: what two had open together would count half for each."""
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    bodies = contest.bodies()
    for number, (title, competitor) in _turns(contest.competitors(), rounds):
        began = time.monotonic()
        with contest.ground.running(competitor, contest.name) as running:
            took = time.monotonic() - began
            run_wrk(running.url, bodies, _TOUCH_CLIENTS, _TOUCH_SECONDS)
            size = pss_bytes(running.process.pids())
        seconds.setdefault(title, []).append(took)
        sizes.setdefault(title, []).append(size)
        say(f"{contest.name}, start {number}, {title}: {took:.1f} s, {size / 2**20:,.0f} MiB")
    return {
        "seconds": _spreads(seconds),
        "seconds_times": times(seconds, inverse=True),
        "pss_bytes": _spreads(sizes),
        "pss_times": times(sizes),
    }


def measure_loads(
    contest: Contest, rounds: int, seconds: int, clients: Sequence[int]
) -> dict[str, Any]:
    """Put the servers under the same load, one after the other. Each round starts them afresh, as
    what is found out about a model as it loads may differ."""
    seen: dict[tuple[int, str], list[WrkResult]] = {}
    large: dict[str, list[float]] = {}
    found: dict[str, Any] = {}
    bodies = contest.bodies()
    thousand = json.dumps(contest.requests.body(0, ROWS)).encode()
    for number in range(1, rounds + 1):
        with ExitStack() as stack:
            servers = {
                title: stack.enter_context(contest.ground.running(competitor, contest.name))
                for title, competitor in contest.competitors().items()
            }
            ports = {title: running.port for title, running in servers.items()}
            require_equal(ports, [*contest.requests.bodies(), json.loads(thousand)])
            for running in servers.values():
                run_wrk(running.url, bodies, max(clients), _WARM_UP_SECONDS)
            order = list(servers.items())
            if number % 2 == 0:
                order.reverse()
            for count, (title, running) in itertools.product(clients, order):
                result = run_wrk(running.url, bodies, count, seconds)
                seen.setdefault((count, title), []).append(result)
            for title, running in order:
                took = median_seconds(running.port, running.competitor.path, thousand, seconds)
                large.setdefault(title, []).append(1000 * took)
            found = merging(info(servers[NOW].port))
        rates = ", ".join(
            f"{title} at {count}: {results[-1].requests_per_second:,.0f}"
            for (count, title), results in seen.items()
        )
        say(f"{contest.name}, round {number} of {rounds}, requests/s: {rates}")
    return {
        "cells": [_cell(count, seen) for count in clients],
        "thousand_ms": _spreads(large),
        "thousand_times": times(large, inverse=True),
        "merging": found,
    }


def merging(info: Mapping[str, Any]) -> dict[str, Any]:
    """Whether requests are merged and why, of what `/info` answers."""
    batching: Mapping[str, Any] = info.get("batching", {})
    return {"merging": bool(batching.get("merging")), "reason": batching.get("reason", "")}


def times(values: Mapping[str, Sequence[float]], *, inverse: bool = False) -> dict[str, Any]:
    """What this server has, times what each other has, round by round; 0 where one has nothing.

    Args:
        inverse: The other way round, for what is better if less: above 1 this server is faster.
    """
    return {
        other: Spread.of(
            ((theirs / own) if inverse else (own / theirs)) if own and theirs else 0.0
            for own, theirs in zip(values[NOW], of_other, strict=True)
        ).to_json()
        for other, of_other in values.items()
        if other != NOW
    }


def _cell(count: int, seen: Mapping[tuple[int, str], Sequence[WrkResult]]) -> dict[str, Any]:
    loads = {title: results for (clients, title), results in seen.items() if clients == count}

    def of_each(tell: Callable[[WrkResult], float]) -> dict[str, list[float]]:
        return {title: list(map(tell, results)) for title, results in loads.items()}

    rates = of_each(lambda result: result.requests_per_second)
    latencies = of_each(lambda result: result.p50_ms)
    return {
        "clients": count,
        "requests_per_second": _spreads(rates),
        "requests_per_second_times": times(rates),
        "p50_ms": _spreads(latencies),
        "p50_times": times(latencies, inverse=True),
        "failures": {title: sum(r.failures for r in results) for title, results in loads.items()},
    }


def _spreads(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {title: Spread.of(of_one).to_json() for title, of_one in values.items()}


def _turns(
    competitors: Mapping[str, Competitor], rounds: int
) -> Iterator[tuple[int, tuple[str, Competitor]]]:
    """Rounds there and back again, numbered from 1."""
    for number in range(1, rounds + 1):
        order = list(competitors.items())
        for turn in order if number % 2 else reversed(order):
            yield number, turn
