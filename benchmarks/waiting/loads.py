"""Clients that ask a model which waits, again and again: one that calls another service, and one
that chats."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd

from benchmarks.client import HOST
from benchmarks.ground import Checkout, Ground, say
from benchmarks.models import TEXT_TO_NUMBER
from benchmarks.paths import PACKAGE, REPOSITORY
from benchmarks.processes import ServerProcess, free_port
from benchmarks.samples import Samples, good_spans
from benchmarks.servers import MLFLOW
from benchmarks.summaries import Spread, latencies
from benchmarks.waiting.rounds import Load, failures, in_turns

CALLING_CLIENTS = (16, 64)
CHAT_CLIENTS = (16,)

_MODELS = PACKAGE / "waiting" / "models"
_TEXT = {"instances": ["a text"]}
_MESSAGES = {"messages": [{"role": "user", "content": "How are you?"}]}
_START_SECONDS = 30.0
_WARM_UP_SECONDS = 0.5


def measure_calling(
    ground: Ground, checkout: Checkout, rounds: int, seconds: float
) -> dict[str, Any]:
    """A model that asks a service which takes 50 ms."""
    name = "calling"
    port = free_port()
    with _service(ground, port):
        ground.registry.add_from_code(
            name,
            _MODELS / "caller.py",
            signature=TEXT_TO_NUMBER,
            input_example=pd.DataFrame({"text": ["a text"]}),
            model_config={"url": f"http://{HOST}:{port}/"},
        )
        return _measure(ground, checkout, name, _TEXT, CALLING_CLIENTS, rounds, seconds)


def measure_chat(ground: Ground, checkout: Checkout, rounds: int, seconds: float) -> dict[str, Any]:
    """A ChatModel that waits 0.2 s."""
    name = "chat"
    ground.registry.add_from_code(name, _MODELS / "chat.py")
    return _measure(ground, checkout, name, _MESSAGES, CHAT_CLIENTS, rounds, seconds)


@contextmanager
def _service(ground: Ground, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.peers.slow_service", str(port)]
    log = ground.path("service.log")
    with ServerProcess("the service", command, directory=REPOSITORY, env={}, log=log) as process:
        process.wait_until_ready(port, "/", _START_SECONDS)
        yield


def _measure(
    ground: Ground,
    checkout: Checkout,
    name: str,
    body: dict[str, Any],
    clients: Sequence[int],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """The Production version, of this server and `mlflow models serve` in turns."""
    ground.registry.promote(name, 1)
    cells = []
    with ExitStack() as stack:
        server = stack.enter_context(ground.serving(checkout, name))
        servers = [server.running, stack.enter_context(ground.running(MLFLOW, name))]
        for running in servers:
            ground.closed_loop(running.port, body, max(clients), _WARM_UP_SECONDS)
        for count in clients:
            load = Load(body, count, seconds)
            for title, loads in in_turns(ground, servers, load, rounds).items():
                cell = {"server": title, "clients": count, **summary(loads)}
                cells.append(cell)
                rate, p50 = (cell[key]["median"] for key in ("requests_per_second", "p50_ms"))
                say(f"{name}, {count} clients, {title}: {rate:,.0f} requests/s, p50 {p50:.0f} ms")
        return {"found": server.concurrency(), "cells": cells}


def summary(loads: Sequence[Samples]) -> dict[str, Any]:
    """Good answers a second, and latencies, over the rounds.

    Raises:
        BenchmarkError: a round had no good answer.
    """
    rates, times = [], []
    for samples in loads:
        good = good_spans(samples)
        began, ended = min(due for due, _ in good), max(done for _, done in good)
        rates.append(len(good) / (ended - began))
        times.append(latencies(done - due for due, done in good))
    return {
        "requests_per_second": Spread.of(rates).to_json(),
        "p50_ms": Spread.of(each["p50_ms"] for each in times).to_json(),
        "p99_ms": Spread.of(each["p99_ms"] for each in times).to_json(),
        "failures": failures(loads),
    }
