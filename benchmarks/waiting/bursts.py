"""Clients that each ask a model once, all at the same moment, which takes a second to answer."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.ground import Checkout, Ground, say
from benchmarks.models import TEXT_TO_NUMBER, Traits
from benchmarks.paths import PACKAGE
from benchmarks.samples import Samples, good_spans
from benchmarks.servers import MLFLOW, Running
from benchmarks.summaries import Spread
from benchmarks.waiting.rounds import Load, failures, in_turns

CLIENTS = (16, 64)

_ASLEEP = PACKAGE / "waiting" / "models" / "asleep.py"
_BODY = {"instances": ["a text"]}
_SENDING_SECONDS = 0.2
"""Less than an answer takes, so that each client sends one request."""


def measure_sleeping(ground: Ground, checkout: Checkout, rounds: int) -> dict[str, Any]:
    """`time.sleep` in `predict`, of this server and `mlflow models serve` in turns."""
    name = "sleeping"
    ground.add(name, Traits(predict_seconds=1.0))
    with ExitStack() as stack:
        server = stack.enter_context(ground.serving(checkout, name))
        peer = stack.enter_context(ground.running(MLFLOW, name))
        cells = _measure(ground, [server.running, peer], rounds)
        return {"found": server.concurrency(), "cells": cells}


def measure_awaiting(ground: Ground, checkout: Checkout, rounds: int) -> dict[str, Any]:
    """`asyncio.sleep` in `async def predict`, of this server; and what `mlflow models serve`
    answers to it."""
    name = "awaiting"
    ground.registry.add_from_code(name, _ASLEEP, signature=TEXT_TO_NUMBER)
    ground.registry.promote(name, 1)
    with ExitStack() as stack:
        server = stack.enter_context(ground.serving(checkout, name))
        cells = _measure(ground, [server.running], rounds)
        known = server.concurrency()
    with ground.running(MLFLOW, name) as peer:
        answers = ground.closed_loop(peer.port, _BODY, 1, _SENDING_SECONDS)
    return {"found": known, "cells": cells, "mlflow_status": max(answers.status)}


def _measure(ground: Ground, servers: Sequence[Running], rounds: int) -> list[dict[str, Any]]:
    cells = []
    for clients in CLIENTS:
        load = Load(_BODY, clients, _SENDING_SECONDS)
        for title, bursts in in_turns(ground, servers, load, rounds).items():
            cell = {"server": title, "clients": clients, **summary(bursts)}
            cells.append(cell)
            say(f"{clients} clients, {title}: {cell['last_seconds']['median']:.2f} s")
    return cells


def summary(bursts: Sequence[Samples]) -> dict[str, Any]:
    """Seconds from the first request of a burst to its last good answer, and such answers a second.

    Raises:
        BenchmarkError: a burst had no good answer.
    """
    last, rates = [], []
    for samples in bursts:
        good = good_spans(samples)
        seconds = max(done for _, done in good) - min(due for due, _ in good)
        last.append(seconds)
        rates.append(len(good) / seconds)
    return {
        "last_seconds": Spread.of(last).to_json(),
        "requests_per_second": Spread.of(rates).to_json(),
        "failures": failures(bursts),
    }
