"""What the reports have in common."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every column but the first is aligned to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Mapping[str, float], digits: int = 0) -> str:
    """The median, and the lowest and highest value where there were several."""
    median, low, high = (f"{values[key]:,.{digits}f}" for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def machine_line(machine: Mapping[str, Any]) -> str:
    """Where and when, in a sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}, {packages}. Load and servers "
        f"share the machine, whose load average was {machine['load_average']:.1f} before. Numbers "
        "in brackets are the lowest and the highest."
    )


def targets_table(targets: Sequence[Mapping[str, Any]]) -> str:
    """The goals; empty where there are none."""
    if not targets:
        return ""
    return table(
        ["", "goal", "measured", "met"],
        [
            [
                target["what"],
                target["goal"],
                f"{spread(target['measured'], 2)}{target['unit']}",
                "yes" if target["met"] else "no",
            ]
            for target in targets
        ],
    )


def mebibytes(count: float) -> str:
    """A number of bytes."""
    return f"{count / 2**20:,.0f} MiB"
