"""Models that wait and stream, of this server and `mlflow models serve`; and one that does not
wait, of this checkout and another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.comparison import NOW, Compared, measure_parts
from benchmarks.ground import Checkout, Ground
from benchmarks.summaries import Spread
from benchmarks.targets import Target
from benchmarks.waiting import bursts, classifier, loads, streams
from benchmarks.wrk import require_wrk

Part = Literal["sleeping", "awaiting", "calling", "chat", "streams", "classifier"]
_THIS = "this server"
_LAST_SECONDS = {16: 1.2, 64: 2.5}
"""For the last of so many clients of a model that sleeps a second."""

_FIRST_CHUNK_MS = 5.0
_GATEWAY_TIMES = 1.5
_LOSS = 0.03

PARTS: tuple[Part, ...] = ("sleeping", "awaiting", "calling", "chat", "streams", "classifier")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Compared):
    """How much is measured.

    Attributes:
        parts: Of PARTS.
        rounds: How often each server has its turn.
        seconds: Length of each load and of each measurement of streams.
        classifier_rounds: How often the servers of the classifier are started, for four turns each.
        classifier_seconds: Length of each of these turns.
    """

    parts: Sequence[Part] = PARTS
    rounds: int = 3
    seconds: float = 4.0
    classifier_rounds: int = 4
    classifier_seconds: int = 1


QUICK = Plan(rounds=1, seconds=2.0, classifier_rounds=1)


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: something is missing, a server failed, or can't be started.
    """

    def measure(part: Part, ground: Ground, checkouts: Sequence[Checkout]) -> dict[str, Any]:
        now = checkouts[-1]
        match part:
            case "sleeping":
                return bursts.measure_sleeping(ground, now, plan.rounds)
            case "awaiting":
                return bursts.measure_awaiting(ground, now, plan.rounds)
            case "calling":
                return loads.measure_calling(ground, now, plan.rounds, plan.seconds)
            case "chat":
                return loads.measure_chat(ground, now, plan.rounds, plan.seconds)
            case "streams":
                return streams.measure(ground, now, plan.seconds)
            case "classifier":
                rounds, seconds = plan.classifier_rounds, plan.classifier_seconds
                return classifier.measure(ground, checkouts, rounds, seconds)

    if "classifier" in plan.parts:
        require_wrk()
    return measure_parts(plan, plan.parts, measure, targets)


def targets(results: Mapping[str, Any]) -> Iterator[Target]:
    """The goals of the parts that were measured."""
    for part, how in (("sleeping", "sleeps"), ("awaiting", "awaits")):
        for cell in results.get(part, {}).get("cells", ()):
            if cell["server"] == _THIS:
                clients, last = cell["clients"], Spread(**cell["last_seconds"])
                what = f"last answer to {clients} clients of a model that {how} 1 s"
                yield Target(what, _LAST_SECONDS[clients], last, at_least=False, unit=" s")
    if known := results.get("streams"):
        yield from _stream_targets(known)
    for ratio in results.get("classifier", {}).get("against", ()):
        connections = ratio["connections"]
        at = f"at {connections} connection{'s' * (connections != 1)}, times that before"
        rate, median = (Spread(**ratio[key]) for key in ("requests_per_second", "p50_ms"))
        yield Target(f"requests/s of the classifier {at}", 1 - _LOSS, rate, at_least=True)
        yield Target(f"p50 of the classifier {at}", 1 + _LOSS, median, at_least=False)
    failures = sum(
        cell["failures"]
        for part in PARTS
        for cell in results.get(part, {}).get("cells", ())
        if cell.get("server", _THIS) in (_THIS, NOW)
    )
    yield Target.at_most("requests and streams of this server that failed", 0, failures)


def _stream_targets(known: Mapping[str, Any]) -> Iterator[Target]:
    for cell in known["cells"]:
        connections = cell["connections"]
        what = f"from yielding a first chunk to its being read, p50, {connections} at a time"
        yield Target.at_most(what, _FIRST_CHUNK_MS, cell["first"]["p50_ms"], " ms")
    crowd = known["crowd"]
    times = crowd["gateway_peak_bytes"] / crowd["gateway_before_bytes"]
    connections = crowd["connections"]
    yield Target.at_most(f"failures of {connections} streams at a time", 0, crowd["failures"])
    yield Target.at_most("the gateway's memory meanwhile, times that before", _GATEWAY_TIMES, times)
