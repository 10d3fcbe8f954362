"""Benchmarks of several parts, of this checkout or of two side by side."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.ground import Checkout, Ground
from benchmarks.machine import describe_machine
from benchmarks.paths import BENCH, REPOSITORY
from benchmarks.targets import Target

BEFORE = "before"
NOW = "now"

Part = TypeVar("Part", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What is measured: the part of a plan that all such benchmarks have.

    Attributes:
        before: Another checkout to compare with, whose `.venv` runs it.
        checkout: What is measured.
    """

    before: Path | None = None
    checkout: Path = REPOSITORY


def measure_parts(
    plan: Compared,
    parts: Sequence[Part],
    measure: Callable[[Part, Ground, Sequence[Checkout]], Any],
    targets: Callable[[Mapping[str, Any]], Iterable[Target]],
) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Args:
        measure: Given a part, where it may work, and the checkouts, the one before first.
        targets: The goals of the parts that were measured.

    Raises:
        BenchmarkError: something is missing, a server failed, or can't be started.
    """
    checkouts = [Checkout(NOW, plan.checkout.resolve())]
    if plan.before is not None:
        checkouts.insert(0, Checkout(BEFORE, plan.before.resolve()))
    for checkout in checkouts:
        checkout.require()
    BENCH.mkdir(exist_ok=True)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="parts-", dir=BENCH) as directory:
        ground = Ground(Path(directory))
        results: dict[str, Any] = {part: measure(part, ground, checkouts) for part in parts}
    sizes = {key: value for key, value in asdict(plan).items() if key not in asdict(Compared())}
    return {
        "machine": machine,
        "plan": sizes,
        "servers": {checkout.title: checkout.commit for checkout in checkouts},
        **results,
        "targets": [target.to_json() for target in targets(results)],
    }
