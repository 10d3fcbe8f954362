"""Tables and chart of the benchmark of models that wait and stream."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.markdown import mebibytes, spread, table

Result = Mapping[str, Any]


def body(results: Result) -> str:
    """The numbers in Markdown."""
    commits = [f"{title} is {commit}" for title, commit in results["servers"].items() if commit]
    texts = [f"Of the checkouts, {', '.join(commits)}."] if commits else []
    for part, (heading, tell, _) in _PARTS.items():
        if part in results:
            texts.append(f"## {heading}\n\n{tell(results[part], results['plan'])}")
    return "\n\n".join(texts)


def chart(results: Result) -> str:
    """Bars of the first part that was measured."""
    return next(draw(results[part]) for part, (_, _, draw) in _PARTS.items() if part in results)


def _sleeping(result: Result, plan: Result) -> str:
    return (
        "`time.sleep` for a second in `predict`. Each client sends one request, all at the same "
        f"moment; rounds: {plan['rounds']}.\n\n{_bursts(result)}"
    )


def _awaiting(result: Result, plan: Result) -> str:
    return (
        "`asyncio.sleep` for a second in `async def predict`. `mlflow models serve` answers "
        f"{result['mlflow_status']} to each request.\n\n{_bursts(result)}"
    )


def _calling(result: Result, plan: Result) -> str:
    return (
        "The model asks a service over HTTP, with `urllib`, which answers 50 ms later. Each client "
        f"has a request under way at all times:\n\n{_loads(result, plan)}"
    )


def _chat(result: Result, plan: Result) -> str:
    return f"A ChatModel that sleeps 0.2 s in `predict`:\n\n{_loads(result, plan)}"


def _classifier(result: Result, plan: Result) -> str:
    rows = [
        [*_figures(cell)[:-1], spread(cell["processor_us"]), f"{cell['failures']}"]
        for cell in result["cells"]
    ]
    heads = [*_RATES[:-1], "processor, µs a request", _RATES[-1]]
    text = (
        "It does not wait, so it must be as fast as before. wrk, in turns of "
        f"{plan['classifier_seconds']} s; starts of the servers: {plan['classifier_rounds']}.\n\n"
        f"{table(heads, rows)}{_found(result)}"
    )
    if not result["against"]:
        return text
    rows = [
        [f"{ratio['connections']}", *(spread(ratio[key], 3) for key in _RATIOS)]
        for ratio in result["against"]
    ]
    heads = ["connections", *_RATIOS.values()]
    return f"{text}\n\nNow, times before, turn by turn:\n\n{table(heads, rows)}"


def _streams(result: Result, _plan: Result) -> str:
    crowd = result["crowd"]
    cells = [*result["cells"], crowd]
    rows = [
        [
            f"{cell['connections']}",
            *(f"{cell[key]:,}" for key in ("streams", "failures")),
            *(_percentiles(cell[key]) for key in ("first", "all", "lasted")),
        ]
        for cell in cells
    ]
    heads = [
        *("streams at a time", "streams", "failures", "first chunk", "all chunks"),
        "a stream lasted",
    ]
    mlflow = result["mlflow"]
    sizes = (mebibytes(crowd[f"gateway_{when}_bytes"]) for when in ("before", "peak", "after"))
    return (
        "From the moment at which the model yields a chunk until the client has read it, and "
        "streams from the request to the end, p50 / p99 in milliseconds. A stream that lacks a "
        f"chunk, its order or its end has failed:\n\n{table(heads, rows)}\n\n"
        f"{crowd['connections']} at a time have `CONCURRENCY={crowd['connections']}`, and could "
        f"last {1000 * crowd['at_least_seconds']:,.0f} ms at the least. The gateway's memory "
        f"(proportional set size):\n\n{table(['before', 'most meanwhile', 'after'], [[*sizes]])}"
        "\n\n`mlflow models serve` has no streaming: to the same request it answers "
        f"{mlflow['status']}, {mlflow['content_type']}."
    )


def _bursts(result: Result) -> str:
    rows = [
        [
            *_who(cell),
            spread(cell["last_seconds"], 2),
            spread(cell["requests_per_second"], 1),
            f"{cell['failures']}",
        ]
        for cell in result["cells"]
    ]
    heads = ["", "clients", "seconds until the last answer", "requests/s", "failures"]
    return table(heads, rows) + _found(result)


def _loads(result: Result, plan: Result) -> str:
    return f"{_rates(result)}\n\nRounds: {plan['rounds']}, of {plan['seconds']:g} s each."


def _rates(result: Result) -> str:
    return table(_RATES, map(_figures, result["cells"])) + _found(result)


def _figures(cell: Result) -> list[str]:
    """A row below _RATES."""
    return [
        *_who(cell),
        spread(cell["requests_per_second"]),
        *(spread(cell[key], 2) for key in ("p50_ms", "p99_ms")),
        f"{cell['failures']}",
    ]


def _found(result: Result) -> str:
    """What this server found out of the model, where it says so."""
    if not (found := result["found"]):
        return ""
    return f"\n\nThis server's slots for predictions: {found['slots']} ({found['reason']})."


def _who(cell: Result) -> tuple[str, str]:
    return cell["server"], f"{cell['clients']}"


def _percentiles(times: Result) -> str:
    return f"{times['p50_ms']:,.2f} / {times['p99_ms']:,.2f}"


def _burst_chart(result: Result) -> str:
    title = "Seconds until the last of several clients has its answer"
    return _cells_chart(title, result["cells"], "last_seconds", 2)


def _rate_chart(result: Result) -> str:
    return _cells_chart("Requests per second", result["cells"], "requests_per_second", 0)


def _cells_chart(title: str, cells: Sequence[Result], key: str, digits: int) -> str:
    groups: dict[int, list[Bar]] = {}
    for cell in cells:
        values = cell[key]
        bar = Bar(cell["server"], values["median"], values["low"], values["high"])
        groups.setdefault(cell["clients"], []).append(bar)
    named = [Group(f"{count} client{'s' * (count != 1)}", bars) for count, bars in groups.items()]
    return bar_chart(title, named, digits)


def _stream_chart(result: Result) -> str:
    bars = []
    for cell in (*result["cells"], result["crowd"]):
        p50, p99 = cell["first"]["p50_ms"], cell["first"]["p99_ms"]
        bars.append(Bar(f"{cell['connections']} at a time", p50, p50, p99))
    title = "Milliseconds until a first chunk is read: p50, with a line to p99"
    return bar_chart(title, [Group("", bars)], digits=2)


_RATES = ("", "clients", "requests/s", "p50, ms", "p99, ms", "failures")
_RATIOS = {
    "requests_per_second": "requests/s",
    "p50_ms": "p50",
    "p99_ms": "p99",
    "processor_us": "processor",
}

_PARTS: Mapping[str, tuple[str, Callable[[Result, Result], str], Callable[[Result], str]]] = {
    "sleeping": ("A model that sleeps", _sleeping, _burst_chart),
    "awaiting": ("A model that awaits", _awaiting, _burst_chart),
    "calling": ("A model that calls a service", _calling, _rate_chart),
    "chat": ("A model that chats", _chat, _rate_chart),
    "streams": ("Streams", _streams, _stream_chart),
    "classifier": ("The text classifier", _classifier, _rate_chart),
}
"""What each part is headed, how its numbers are told, and its chart."""
