"""Processor time and duration of a swap, of several servers in turns and without any load."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.ground import Checkout, Ground, Server, say
from benchmarks.models import TEXT_MODEL
from benchmarks.processor import Usage, usage, wait_until_quiet
from benchmarks.summaries import Spread

_RETIRED_SECONDS = 60.0
_SETTLING_SECONDS = 0.5
"""After the old release is gone: until whoever collects its processes has done so."""


@dataclass(frozen=True, slots=True)
class Swap:
    """One swap: what it used beyond a server at rest, and the time from POST to the answer."""

    used: Usage
    seconds: float


def measure(ground: Ground, checkouts: Sequence[Checkout], swaps: int) -> dict[str, dict[str, Any]]:
    """Load the text classifier afresh, by POST /reload; the first swap of each does not count."""
    ground.registry.add_text_models(1)
    ground.registry.promote(TEXT_MODEL, 1)
    done: dict[str, list[Swap]] = {checkout.title: [] for checkout in checkouts}
    with ExitStack() as stack:
        servers = {c.title: stack.enter_context(ground.serving(c, TEXT_MODEL)) for c in checkouts}
        for server in servers.values():
            _swap(server)
        for _ in range(swaps):
            for title, server in servers.items():
                done[title].append(_swap(server))
    results = {title: _summary(of_one) for title, of_one in done.items()}
    for title, result in results.items():
        say(f"{swaps} swaps, {title}: {result['below_seconds']['median']:.2f} s of the processor")
    return results


def _swap(server: Server) -> Swap:
    process = server.running.process
    wait_until_quiet(process)
    before = usage(process)
    began = time.monotonic()
    server.reload()
    answered = time.monotonic()
    server.log.wait_for("release_retired", began, _RETIRED_SECONDS)
    time.sleep(_SETTLING_SECONDS)
    after = usage(process)
    # What it uses in any case, in as long a time.
    time.sleep(time.monotonic() - began)
    at_rest = usage(process).since(after)
    return Swap(after.since(before).since(at_rest), answered - began)


def _summary(swaps: Sequence[Swap]) -> dict[str, Any]:
    return {
        "swaps": len(swaps),
        "below_seconds": Spread.of(swap.used.below for swap in swaps).to_json(),
        "gateway_seconds": Spread.of(swap.used.gateway for swap in swaps).to_json(),
        "answered_seconds": Spread.of(swap.seconds for swap in swaps).to_json(),
    }
