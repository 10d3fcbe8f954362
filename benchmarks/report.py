"""The results as files: JSON as measured, and a table and a chart made from it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    models_report,
    payloads_report,
    swap_report,
    throughput_report,
    waiting_report,
    workers_report,
)
from benchmarks.markdown import machine_line, targets_table

_DIGITS = 5

Results = dict[str, Any]

_BODIES: dict[str, Callable[[Results], str]] = {
    "throughput": throughput_report.body,
    "swap": swap_report.body,
    "payloads": payloads_report.body,
    "workers": workers_report.body,
    "waiting": waiting_report.body,
    "models": models_report.body,
}
_CHARTS: dict[str, Callable[[Results], str]] = {
    "throughput": throughput_report.chart,
    "swap": swap_report.chart,
    "payloads": payloads_report.chart,
    "workers": workers_report.chart,
    "waiting": waiting_report.chart,
    "models": models_report.chart,
}

BENCHMARKS = tuple(_BODIES)


def write(benchmark: str, results: Results, directory: Path) -> Path:
    """Write the JSON, and what is made from it; return the path of the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_rounded(results), indent=1)
    (directory / f"{benchmark}.json").write_text(f"{text}\n")
    return render(benchmark, directory)


def render(benchmark: str, directory: Path) -> Path:
    """Make the table and the chart from the JSON; return the path of the Markdown."""
    results = json.loads((directory / f"{benchmark}.json").read_text())
    (directory / f"{benchmark}.svg").write_text(_CHARTS[benchmark](results))
    path = directory / f"{benchmark}.md"
    path.write_text(markdown(benchmark, results))
    return path


def markdown(benchmark: str, results: Results) -> str:
    """The whole text: what it was measured on, the goals, the numbers, the chart."""
    parts = [
        f"# {benchmark.capitalize()}",
        machine_line(results["machine"]),
        targets_table(results["targets"]),
        _BODIES[benchmark](results),
        f"![{benchmark.capitalize()}]({benchmark}.svg)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rounded(value: Any) -> Any:
    """Numbers to five digits: more is noise, and the files are kept."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(entry) for entry in value]
    return value
