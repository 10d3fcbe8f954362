"""Order statistics."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values don't exceed (nearest rank).

    Args:
        ordered: At least one value, ascending.
        share: Above 0 and up to 1.
    """
    return ordered[math.ceil(len(ordered) * share) - 1]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of what several rounds gave, and how far apart they were."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Sum up at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))

    def to_json(self) -> dict[str, float]:
        """As it stands in the results."""
        return {"median": self.median, "low": self.low, "high": self.high}


def latencies(seconds: Iterable[float]) -> dict[str, Any]:
    """Sum up latencies in milliseconds; an empty dictionary where there are none."""
    ordered = sorted(1000 * value for value in seconds)
    if not ordered:
        return {}
    return {
        "requests": len(ordered),
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
        "p99_9_ms": percentile(ordered, 0.999),
        "max_ms": ordered[-1],
    }
