"""Memory, lost workers, killer requests and swaps, of this checkout or of two side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.comparison import BEFORE, NOW, Compared, measure_parts
from benchmarks.ground import Checkout, Ground
from benchmarks.summaries import Spread
from benchmarks.targets import Target
from benchmarks.workers import candidate, killers, replacement, resident

Part = Literal["memory", "replacement", "killers", "candidate"]
_NOISE = 0.05
"""How far apart two runs of equal code were seen to be."""

PARTS: tuple[Part, ...] = ("memory", "replacement", "killers", "candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Compared):
    """How much is measured.

    Attributes:
        parts: Of PARTS.
        mebibytes: Size of the models whose memory is measured.
        predictions: Before memory is measured again.
        load_seconds: What the model whose worker is killed takes to load.
        kills: Of workers. Five within a minute may have the version given up.
        killer_seconds: How long killer requests are posted.
        swaps: Of each checkout, for their processor time.
    """

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

    def measure(part: Part, ground: Ground, checkouts: Sequence[Checkout]) -> Any:
        match part:
            case "memory":
                return resident.measure(ground, checkouts, plan.mebibytes, plan.predictions)
            case "replacement":
                return replacement.measure(ground, checkouts, plan.load_seconds, plan.kills)
            case "killers":
                return killers.measure(ground, checkouts, plan.killer_seconds)
            case "candidate":
                return candidate.measure(ground, checkouts, plan.swaps)

    return measure_parts(plan, plan.parts, measure, targets)


def targets(results: Mapping[str, Any]) -> Iterator[Target]:
    """The goals of the parts that were measured."""
    if cells := results.get("memory"):
        yield from _memory_targets(cells)
    if lost := results.get("replacement"):
        lost = lost[NOW]
        yield Target.at_most("failures as workers are killed", 0, lost["failures"])
        latest = lost["latest_seconds"]["high"]
        yield Target.at_most("latest answer after a worker is killed", 300, 1000 * latest, " ms")
        first = lost["first_answer_seconds"]
        times = Spread(**{key: 1000 * value for key, value in first.items()})
        what = "first answer to a request begun after that"
        yield Target(what, 100, times, at_least=False, unit=" ms")
    if kept := results.get("killers"):
        good = kept[NOW]["good"]
        yield Target.at_most("good requests that fail beside killers", 0, good["failures"])
        yield Target.at_most("latest answer to a good one", 300, good["max_ms"], " ms")
        yield Target.at_most("p99 of the good ones", 100, good["p99_ms"], " ms")
        yield Target.at_most("versions given up over killers", 0, kept[NOW]["given_up"])
    if (swaps := results.get("candidate")) and BEFORE in swaps:
        before, now = (swaps[title]["below_seconds"]["median"] for title in (BEFORE, NOW))
        what = "processor time of a swap, times that before"
        yield Target.at_most(what, 1 + _NOISE, now / before)


def _memory_targets(cells: Sequence[dict[str, Any]]) -> Iterator[Target]:
    sizes = {(c["server"], c["model"], c["workers"]): c for c in cells}
    one, several = resident.WORKERS
    for model in dict.fromkeys(cell["model"] for cell in cells):
        few, many = sizes[NOW, model, one], sizes[NOW, model, several]
        what = f"memory of {several} workers, times that of {one}, {model}"
        yield Target.at_most(what, 1.3, many["at_rest_bytes"] / few["at_rest_bytes"])
        yield Target.at_most(
            f"{what}, after predictions", 1.5, many["after_bytes"] / few["after_bytes"]
        )
        if (before := sizes.get((BEFORE, model, one))) is not None:
            # Libraries' files would count differently where one environment is in wider use.
            what = f"memory without files of {one} worker, times that before, {model}"
            anonymous = "at_rest_anonymous_bytes"
            yield Target.at_most(what, 1.1, few[anonymous] / before[anonymous])
