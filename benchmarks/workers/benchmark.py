"""Memory, lost workers, killer requests and swaps, of this checkout or of two side by side."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.ground import Checkout, Ground
from benchmarks.machine import describe_machine
from benchmarks.paths import BENCH, REPOSITORY
from benchmarks.summaries import Spread
from benchmarks.targets import Target
from benchmarks.workers import candidate, killers, replacement, resident

Part = Literal["memory", "replacement", "killers", "candidate"]
_BEFORE = "before"
_NOW = "now"
_NOISE = 0.05
"""How far apart two runs of equal code were seen to be."""

PARTS: tuple[Part, ...] = ("memory", "replacement", "killers", "candidate")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        before: Another checkout to compare with, whose `.venv` runs it.
        checkout: What is measured.
        parts: Of PARTS.
        mebibytes: Size of the models whose memory is measured.
        predictions: Before memory is measured again.
        load_seconds: What the model whose worker is killed takes to load.
        kills: Of workers. Five within a minute may have the version given up.
        killer_seconds: How long killer requests are posted.
        swaps: Of each checkout, for their processor time.
    """

    before: Path | None = None
    checkout: Path = REPOSITORY
    parts: Sequence[Part] = PARTS
    mebibytes: float = 200.0
    predictions: int = 10_000
    load_seconds: float = 5.0
    kills: int = 4
    killer_seconds: float = 30.0
    swaps: int = 12


QUICK = Plan(predictions=2000, load_seconds=2.0, kills=2, killer_seconds=5.0, swaps=3)


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: a server failed, or can't be started.
    """
    checkouts = [Checkout(_NOW, plan.checkout.resolve())]
    if plan.before is not None:
        checkouts.insert(0, Checkout(_BEFORE, plan.before.resolve()))
    for checkout in checkouts:
        checkout.require()
    BENCH.mkdir(exist_ok=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="workers-", dir=BENCH) as directory:
        ground = Ground(Path(directory))
        results: dict[str, Any] = {}
        for part in plan.parts:
            results[part] = _measure(part, plan, ground, checkouts)
    sizes = {key: value for key, value in asdict(plan).items() if key not in ("before", "checkout")}
    return {
        "machine": machine,
        "plan": sizes,
        "servers": {checkout.title: checkout.commit for checkout in checkouts},
        **results,
        "targets": [target.to_json() for target in targets(results)],
    }


def _measure(part: Part, plan: Plan, ground: Ground, checkouts: Sequence[Checkout]) -> Any:
    match part:
        case "memory":
            return resident.measure(ground, checkouts, plan.mebibytes, plan.predictions)
        case "replacement":
            return replacement.measure(ground, checkouts, plan.load_seconds, plan.kills)
        case "killers":
            return killers.measure(ground, checkouts, plan.killer_seconds)
        case "candidate":
            return candidate.measure(ground, checkouts, plan.swaps)


def targets(results: dict[str, Any]) -> Iterator[Target]:
    """The goals of the parts that were measured."""
    if cells := results.get("memory"):
        yield from _memory_targets(cells)
    if lost := results.get("replacement"):
        lost = lost[_NOW]
        yield _at_most("failures as workers are killed", 0, lost["failures"])
        latest = lost["latest_seconds"]["high"]
        yield _at_most("latest answer after a worker is killed", 300, 1000 * latest, " ms")
        first = lost["first_answer_seconds"]
        times = Spread(**{key: 1000 * value for key, value in first.items()})
        what = "first answer to a request begun after that"
        yield Target(what, 100, times, at_least=False, unit=" ms")
    if kept := results.get("killers"):
        good = kept[_NOW]["good"]
        yield _at_most("good requests that fail beside killers", 0, good["failures"])
        yield _at_most("latest answer to a good one", 300, good["max_ms"], " ms")
        yield _at_most("p99 of the good ones", 100, good["p99_ms"], " ms")
        yield _at_most("versions given up over killers", 0, kept[_NOW]["given_up"])
    if (swaps := results.get("candidate")) and _BEFORE in swaps:
        before, now = (swaps[title]["below_seconds"]["median"] for title in (_BEFORE, _NOW))
        what = "processor time of a swap, times that before"
        yield _at_most(what, 1 + _NOISE, now / before)


def _memory_targets(cells: Sequence[dict[str, Any]]) -> Iterator[Target]:
    sizes = {(c["server"], c["model"], c["workers"]): c for c in cells}
    one, several = resident.WORKERS
    for model in dict.fromkeys(cell["model"] for cell in cells):
        few, many = sizes[_NOW, model, one], sizes[_NOW, model, several]
        what = f"memory of {several} workers, times that of {one}, {model}"
        yield _at_most(what, 1.3, many["at_rest_bytes"] / few["at_rest_bytes"])
        yield _at_most(f"{what}, after predictions", 1.5, many["after_bytes"] / few["after_bytes"])
        if (before := sizes.get((_BEFORE, model, one))) is not None:
            # Libraries' files would count differently where one environment is in wider use.
            what = f"memory without files of {one} worker, times that before, {model}"
            anonymous = "at_rest_anonymous_bytes"
            yield _at_most(what, 1.1, few[anonymous] / before[anonymous])


def _at_most(what: str, limit: float, measured: float, unit: str = "") -> Target:
    return Target(what, limit, Spread.of([measured]), at_least=False, unit=unit)
