"""What the measurements are held against."""

from dataclasses import dataclass
from typing import Any, Self

from benchmarks.summaries import Spread


@dataclass(frozen=True, slots=True)
class Target:
    """One goal.

    Attributes:
        what: What is measured, in words.
        limit: The goal; at least that, or at most.
        measured: What was seen; the median counts.
        at_least: Whether more is better.
        unit: Follows the numbers: a space and a unit, or nothing for ratios and counts.
    """

    what: str
    limit: float
    measured: Spread
    at_least: bool
    unit: str = ""

    @classmethod
    def at_most(cls, what: str, limit: float, measured: float, unit: str = "") -> Self:
        """A goal for one measurement."""
        return cls(what, limit, Spread.of([measured]), at_least=False, unit=unit)

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        if self.at_least:
            return self.measured.median >= self.limit
        return self.measured.median <= self.limit

    def to_json(self) -> dict[str, Any]:
        """As it stands in the results."""
        return {
            "what": self.what,
            "goal": f"at {'least' if self.at_least else 'most'} {self.limit:g}{self.unit}",
            "measured": self.measured.to_json(),
            "unit": self.unit,
            "met": self.met,
        }
