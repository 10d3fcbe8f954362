"""Tables and chart of the benchmark of workers."""

from collections.abc import Callable
from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.markdown import mebibytes, spread, table

_MODELS = {"array": "a NumPy array", "objects": "Python objects"}


def body(results: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    commits = [f"{title} is {commit}" for title, commit in results["servers"].items() if commit]
    texts = [f"Of the checkouts, {', '.join(commits)}."] if commits else []
    for part, tell in _PARTS.items():
        if part in results:
            texts.append(tell(results))
    return "\n\n".join(texts)


def chart(results: dict[str, Any]) -> str:
    """Bars of the first part that was measured."""
    title, groups = next(draw(results) for part, draw in _CHARTS.items() if part in results)
    return bar_chart(title, groups, digits=1)


def _memory_chart(results: dict[str, Any]) -> tuple[str, list[Group]]:
    groups: dict[str, list[Bar]] = {}
    for cell in results["memory"]:
        size = cell["after_bytes"] / 2**20
        groups.setdefault(_memory_name(cell), []).append(Bar(cell["server"], size, size, size))
    title = "Memory after predictions in MiB, by model and number of workers"
    return title, [Group(name, bars) for name, bars in groups.items()]


def _replacement_chart(results: dict[str, Any]) -> tuple[str, list[Group]]:
    bars = _millisecond_bars(results["replacement"], "latest_seconds")
    return "Milliseconds until the latest answer after a worker is killed", [Group("", bars)]


def _killers_chart(results: dict[str, Any]) -> tuple[str, list[Group]]:
    bars = []
    for server, result in results["killers"].items():
        p50, p99, longest = (result["good"][f"{key}_ms"] for key in ("p50", "p99", "max"))
        bars.append(Bar(server, p99, p50, longest))
    return "Milliseconds beside killers: p99, with a line from p50 to max", [Group("", bars)]


def _candidate_chart(results: dict[str, Any]) -> tuple[str, list[Group]]:
    bars = _millisecond_bars(results["candidate"], "below_seconds")
    return "Milliseconds of the processor for a swap", [Group("", bars)]


def _millisecond_bars(servers: dict[str, dict[str, Any]], key: str) -> list[Bar]:
    bars = []
    for server, result in servers.items():
        median, low, high = (1000 * result[key][end] for end in ("median", "low", "high"))
        bars.append(Bar(server, median, low, high))
    return bars


def _memory(results: dict[str, Any]) -> str:
    plan = results["plan"]
    rows = [
        [
            f"{_memory_name(cell)}, {cell['server']}",
            {True: "yes", False: "no", None: ""}[cell["shared"]],
            f"{cell['processes']}",
            *(mebibytes(cell[f"{when}_bytes"]) for when in ("at_rest", "after")),
            *(mebibytes(cell[f"{when}_anonymous_bytes"]) for when in ("at_rest", "after")),
        ]
        for cell in results["memory"]
    ]
    heads = [
        *("", "shared", "processes", "at rest", "after predictions"),
        *("at rest, no files", "after, no files"),
    ]
    return (
        f"## Memory\n\nOf all processes (proportional set size), with {plan['mebibytes']:g} MiB of "
        f"model, before and after {plan['predictions']:,} predictions. Files of libraries count "
        f"less the more other processes have them open:\n\n{table(heads, rows)}"
    )


def _replacement(results: dict[str, Any]) -> str:
    rows = [
        [
            title,
            *(f"{result[key]:,}" for key in ("kills", "requests", "failures")),
            spread(result["in_flight"]),
            *(
                _milliseconds(result[f"{key}_seconds"])
                for key in ("latest", "first_answer", "replaced")
            ),
        ]
        for title, result in results["replacement"].items()
    ]
    heads = [
        *("milliseconds", "kills", "requests", "failures", "in flight at a kill"),
        *("latest answer", "first answer", "`worker_replaced`"),
    ]
    return (
        "## A worker is killed\n\nThe only one, of a model that takes "
        f"{results['plan']['load_seconds']:g} s to load, with 16 clients that always have a "
        "request under way, and 200 requests a second beside them. The clients' latest answer "
        "counts from the kill, or from when its request began, within a second of it; the first "
        f"one is to a request begun after the kill:\n\n{table(heads, rows)}"
    )


def _killers(results: dict[str, Any]) -> str:
    rows = [
        [
            title,
            *(f"{result['good'][key]:,}" for key in ("requests", "failures")),
            *(f"{result['good'][key]:,.1f}" for key in ("p50_ms", "p99_ms", "max_ms")),
            f"{result['workers_lost']}",
            f"{result['given_up']}",
            _statuses(result["repeated_statuses"]),
            _statuses(result["different_statuses"]),
        ]
        for title, result in results["killers"].items()
    ]
    heads = [
        *("good ones, milliseconds", "requests", "failures", "p50", "p99", "max"),
        *("workers lost", "given up", "repeated", "different"),
    ]
    return (
        f"## Requests that kill\n\n{results['plan']['killer_seconds']:g} s of one that is repeated "
        "ten times a second, and one a second that differs each time, beside 800 good ones a "
        "second on 16 connections, whose latency counts from when they were due; then how often "
        "the killers were answered with which status, 0 for no "
        f"answer:\n\n{table(heads, rows)}"
    )


def _candidate(results: dict[str, Any]) -> str:
    rows = [
        [
            title,
            f"{result['swaps']}",
            *(spread(result[f"{key}_seconds"], 2) for key in ("below", "gateway", "answered")),
        ]
        for title, result in results["candidate"].items()
    ]
    heads = ["seconds", "swaps", "processor", "the gateway's", "POST to answer"]
    return (
        "## A swap\n\nOf the text classifier, by POST /reload, without any other request, the "
        "checkouts in turns. Processor time is that of all processes below the gateway, from the "
        "POST until the old release is gone, those that have ended included, less what they use "
        f"at rest in as long a time:\n\n{table(heads, rows)}"
    )


def _memory_name(cell: dict[str, Any]) -> str:
    workers = cell["workers"]
    return f"{_MODELS[cell['model']]}, {workers} worker{'s' * (workers != 1)}"


def _milliseconds(seconds: dict[str, float]) -> str:
    return spread({key: 1000 * value for key, value in seconds.items()})


def _statuses(counts: dict[str, int]) -> str:
    return ", ".join(f"{count}x {status}" for status, count in counts.items())


_PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "memory": _memory,
    "replacement": _replacement,
    "killers": _killers,
    "candidate": _candidate,
}

_CHARTS: dict[str, Callable[[dict[str, Any]], tuple[str, list[Group]]]] = {
    "memory": _memory_chart,
    "replacement": _replacement_chart,
    "killers": _killers_chart,
    "candidate": _candidate_chart,
}
