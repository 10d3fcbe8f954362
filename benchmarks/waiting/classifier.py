"""The text classifier, which does not wait: it must be as fast as it was."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ground import Checkout, Ground, Server, say
from benchmarks.models import TEXT_MODEL, some_texts
from benchmarks.processor import usage
from benchmarks.summaries import Spread
from benchmarks.wrk import WrkResult, run_wrk

CONNECTIONS = (1, 64)
TURNS = 4
"""Of each server, at each number of connections, each time that it is started."""

_TEXTS = 64
_WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement of a server: what wrk saw, and the seconds of the processor that all of its
    processes took."""

    load: WrkResult
    processor_seconds: float


Turns = dict[tuple[str, int], list[Turn]]
"""Those of a checkout at so many connections, in the order of measuring."""

_FIGURES: dict[str, Callable[[Turn], float]] = {
    "requests_per_second": lambda turn: turn.load.requests_per_second,
    "p50_ms": lambda turn: turn.load.p50_ms,
    "p99_ms": lambda turn: turn.load.p99_ms,
    # What else the machine does changes this least.
    "processor_us": lambda turn: 1e6 * turn.processor_seconds / max(1, turn.load.requests),
}


def measure(
    ground: Ground, checkouts: Sequence[Checkout], rounds: int, seconds: int
) -> dict[str, Any]:
    """Load each checkout's server with wrk.

    Every round starts the servers afresh, as two processes of equal code differ, and measures them
    in many short turns whose order changes, as the machine's speed drifts.
    """
    ground.registry.add_text_models(1)
    ground.registry.promote(TEXT_MODEL, 1)
    bodies = ground.bodies({"instances": [text]} for text in some_texts(_TEXTS))
    turns: Turns = {}
    found: dict[str, Any] = {}
    for number in range(1, rounds + 1):
        with ExitStack() as stack:
            servers = {
                checkout.title: stack.enter_context(ground.serving(checkout, TEXT_MODEL))
                for checkout in checkouts
            }
            for server in servers.values():
                run_wrk(server.running.url, bodies, max(CONNECTIONS), _WARM_UP_SECONDS)
            there_and_back = [*servers.items(), *reversed(servers.items())]
            order = there_and_back * (TURNS // 2)
            for connections, (title, server) in itertools.product(CONNECTIONS, order):
                turn = _turn(server, bodies, connections, seconds)
                turns.setdefault((title, connections), []).append(turn)
            found = servers[checkouts[-1].title].concurrency()
        say(f"Classifier, round {number} of {rounds}")
    return {
        "found": found,
        "cells": [_cell(title, connections, of) for (title, connections), of in turns.items()],
        "against": against(turns, *(checkout.title for checkout in checkouts)),
    }


def _turn(server: Server, bodies: Path, connections: int, seconds: int) -> Turn:
    process = server.running.process
    before = usage(process)
    load = run_wrk(server.running.url, bodies, connections, seconds)
    used = usage(process).since(before)
    return Turn(load, used.gateway + used.below)


def _cell(title: str, connections: int, turns: Sequence[Turn]) -> dict[str, Any]:
    figures = {key: Spread.of(map(tell, turns)).to_json() for key, tell in _FIGURES.items()}
    failures = sum(turn.load.failures for turn in turns)
    return {"server": title, "clients": connections, **figures, "failures": failures}


def against(turns: Turns, before: str, now: str | None = None) -> list[dict[str, Any]]:
    """Each figure now, times that before, turn by turn; empty without a checkout before."""
    if now is None:
        return []
    ratios = []
    for connections in CONNECTIONS:
        pairs = list(zip(turns[now, connections], turns[before, connections], strict=True))
        spreads = {
            key: Spread.of(tell(new) / tell(old) for new, old in pairs).to_json()
            for key, tell in _FIGURES.items()
        }
        ratios.append({"connections": connections, **spreads})
    return ratios
