"""Tables and chart of the swap benchmark."""

from typing import Any

from benchmarks.charts import Line, timeline_chart
from benchmarks.markdown import mebibytes, spread, table

_PERCENTILES = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p99_9_ms", "max": "max_ms"}


def body(results: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    rate = f"{results['rate']:,.0f} requests/s"
    sustained = results["sustained_rate"]
    half = f", half of the {sustained:,.0f} that it sustains" if sustained else ""
    intro = (
        f"At a constant {rate}{half}; each latency counts from the time at which the request was "
        "due. A swap window lasts from the promotion until half a second after the old version "
        "was retired."
    )
    texts = [intro]
    for trigger, phase in results["phases"].items():
        texts += [f"## Swaps by {trigger}", _latencies(phase), _times(phase), _memory(phase)]
    return "\n\n".join(texts)


def _latencies(phase: dict[str, Any]) -> str:
    rows = [
        ("steady state", phase["steady"]),
        (f"in {phase['swaps']} swap windows", phase["swapping"]),
    ]
    return table(
        ["milliseconds", "requests", "failures", "over 100 ms", *_PERCENTILES],
        [
            [
                name,
                f"{group.get('requests', 0):,}",
                f"{group['failures']}",
                f"{group['late']}",
                *(f"{group[key]:.1f}" if key in group else "" for key in _PERCENTILES.values()),
            ]
            for name, group in rows
        ],
    )


def _times(phase: dict[str, Any]) -> str:
    client = phase["client_late"]
    return (
        "From promoting to the first answer of the new version: "
        f"{spread(phase['promoted_to_serving_seconds'], 2)} s, without the wait for the watcher's "
        f"poll {spread(phase['noticed_to_serving_seconds'], 2)} s. Of the latencies, the load "
        f"generator's own delay is {client['p99_ms']:.1f} ms at p99."
    )


def _memory(phase: dict[str, Any]) -> str:
    memory = phase["memory_bytes"]
    return table(
        ["memory", "at rest", "under load", "most during a swap", "after it"],
        [
            [
                "all processes (proportional set size)",
                *(mebibytes(memory[key]) for key in ("at_rest", "before", "during", "after")),
            ]
        ],
    )


def chart(results: dict[str, Any]) -> str:
    """Latency over time, of the first trigger."""
    trigger, phase = next(iter(results["phases"].items()))
    timeline = phase["timeline"]
    lines = [
        Line("longest", [(point["seconds"], point["max_ms"]) for point in timeline]),
        Line("median", [(point["seconds"], point["p50_ms"]) for point in timeline]),
    ]
    title = f"Latency in milliseconds; shaded: swap windows, by {trigger}"
    return timeline_chart(title, lines, phase["windows"], "s")
