"""Tables and chart of the benchmark of types of models."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.comparison import BEFORE, NOW
from benchmarks.kinds.benchmark import merging_pays
from benchmarks.kinds.catalogue import KINDS
from benchmarks.kinds.contest import MLFLOW
from benchmarks.kinds.promotion import BACK, CLIENTS
from benchmarks.markdown import spread, table

Result = Mapping[str, Any]

_CHART_CLIENTS = 16


def body(results: Result) -> str:
    """The numbers in Markdown."""
    kinds = {key: results[key] for key in KINDS if key in results}
    texts = []
    if commits := [f"{title} is {name}" for title, name in results["servers"].items() if name]:
        texts.append(f"Of the checkouts, {', '.join(commits)}.")
    versions = {name: of for kind in kinds.values() for name, of in kind["versions"].items()}
    texts.append(f"Libraries: {', '.join(f'{name} {of}' for name, of in versions.items())}.")
    loaded = [kind for kind in kinds.values() if "loads" in kind]
    if loaded:
        texts += [_rates(loaded, results["plan"]), _merging(loaded)]
    if costs := _costs(list(kinds.values())):
        texts.append(costs)
    if alone := [kind for kind in kinds.values() if "alone" in kind]:
        texts.append(_alone(alone))
    if promoted := [kind for kind in kinds.values() if "promotion" in kind]:
        texts.append(_promotion(promoted))
    if BEFORE in results["servers"] and loaded:
        texts.append(_before(loaded))
    return "\n\n".join(texts)


def chart(results: Result) -> str:
    """Bars of the first part that was measured."""
    for part, (title, tell) in _CHARTS.items():
        kinds = [results[key] for key in KINDS if part in results.get(key, {})]
        if bars := [_bar(kind["title"], tell(kind[part])) for kind in kinds]:
            return bar_chart(title, [Group("", bars)], digits=2)
    raise ValueError("nothing was measured")


def _bar(title: str, values: Mapping[str, float]) -> Bar:
    return Bar(title, values["median"], values["low"], values["high"])


def _busy(loads: Result) -> Mapping[str, float]:
    """How many times the requests a second there are at 16 clients, or else at the most."""
    cells = {cell["clients"]: cell for cell in loads["cells"]}
    cell = cells.get(_CHART_CLIENTS, loads["cells"][-1])
    times: Mapping[str, float] = cell["requests_per_second_times"][MLFLOW]
    return times


def _rates(kinds: list[Result], plan: Result) -> str:
    clients = [cell["clients"] for cell in kinds[0]["loads"]["cells"]]
    heads = [""]
    for count in clients:
        heads += [f"{count} client{'s' * (count != 1)}", "mlflow", "times"]
    rows = []
    for kind in kinds:
        row = [kind["title"]]
        for cell in kind["loads"]["cells"]:
            rates = cell["requests_per_second"]
            row += [f"{rates[title]['median']:,.0f}" for title in (NOW, MLFLOW)]
            row.append(spread(cell["requests_per_second_times"][MLFLOW], 1))
        rows.append(row)
    return (
        "Requests per second of one row, 200 different ones, of this server and of `mlflow models "
        f"serve`; rounds: {plan['rounds']}, of {plan['seconds']} s each:\n\n{table(heads, rows)}"
    )


def _costs(kinds: list[Result]) -> str:
    heads = [
        *("", "p50 at 1 client, ms", "1,000 rows, ms", "from exec to healthy, s"),
        "memory of all processes, MiB",
    ]
    rows = []
    for kind in kinds:
        loads, starts = kind.get("loads"), kind.get("starts")
        one = [cell for cell in loads["cells"] if cell["clients"] == 1] if loads else []
        rows.append(
            [
                kind["title"],
                _both(one[0]["p50_ms"], one[0]["p50_times"], 2) if one else "",
                _both(loads["thousand_ms"], loads["thousand_times"], 1) if loads else "",
                _both(starts["seconds"], starts["seconds_times"], 1) if starts else "",
                _sizes(starts) if starts else "",
            ]
        )
    if not any(any(row[1:]) for row in rows):
        return ""
    return (
        "This server / `mlflow models serve`, and how many times faster it is; of memory "
        "(proportional set size, after a second of load) how many times as much:\n\n"
        f"{table(heads, rows)}"
    )


def _both(values: Result, times: Result, digits: int) -> str:
    own, other = (f"{values[title]['median']:,.{digits}f}" for title in (NOW, MLFLOW))
    return f"{own} / {other}: {times[MLFLOW]['median']:.2f}"


def _sizes(starts: Result) -> str:
    own, other = (f"{starts['pss_bytes'][t]['median'] / 2**20:,.0f}" for t in (NOW, MLFLOW))
    return f"{own} / {other}: {starts['pss_times'][MLFLOW]['median']:.2f}"


def _merging(kinds: list[Result]) -> str:
    rows = []
    for kind in kinds:
        found = kind["loads"]["merging"]
        rows.append(f"- {kind['title']}: {'yes' if found['merging'] else 'no'}, {found['reason']}")
    lines = "\n".join(rows)
    return f"Whether this server merged requests, by what `/info` said after the load:\n\n{lines}"


def _alone(kinds: list[Result]) -> str:
    sizes = list(kinds[0]["alone"])
    rows = [
        [
            kind["title"],
            *(spread(kind["alone"][size], 4) for size in sizes),
            "yes" if merging_pays(kind) else "no",
        ]
        for kind in kinds
    ]
    heads = ["", *(f"{size} row{'s' * (size != '1')} at a time" for size in sizes), "merging pays"]
    return (
        "The model alone, `predict` of the loaded pyfunc, milliseconds for a row. Where it is 8 "
        f"times as fast at 16 rows, merging pays:\n\n{table(heads, rows)}"
    )


def _promotion(kinds: list[Result]) -> str:
    rows = [
        [
            f"{kind['title']}, {title}" if len(kind["promotion"]) > 1 else kind["title"],
            f"{found['before']:,.0f}",
            f"{found['swap_seconds']:.1f}",
            f"{found['back_seconds']:.1f}",
            "yes" if found["merging"]["merging"] else "no",
            f"{found['failures']}",
        ]
        for kind in kinds
        for title, found in kind["promotion"].items()
    ]
    heads = [
        *("", "requests/s before", "until the new version answers, s", "until it is as fast, s"),
        *("merges at the end", "failures"),
    ]
    return (
        f"A second version is promoted under {CLIENTS} clients, and `POST /reload` sent. It is as "
        f"fast once {BACK:.0%} as many requests are answered in a second:\n\n{table(heads, rows)}"
    )


def _before(kinds: list[Result]) -> str:
    clients = [cell["clients"] for cell in kinds[0]["loads"]["cells"]]
    rows = [
        [
            kind["title"],
            *(
                spread(cell["requests_per_second_times"][BEFORE], 2)
                for cell in kind["loads"]["cells"]
            ),
            spread(kind["loads"]["thousand_times"][BEFORE], 2),
        ]
        for kind in kinds
    ]
    heads = ["", *(f"requests/s at {count}" for count in clients), "1,000 rows"]
    return f"Now, times as fast as before, round by round:\n\n{table(heads, rows)}"


_CHARTS: Mapping[str, tuple[str, Callable[[Result], Mapping[str, float]]]] = {
    "loads": (f"Times the requests/s of mlflow models serve, {_CHART_CLIENTS} clients", _busy),
    "starts": ("Times as fast to start", lambda starts: starts["seconds_times"][MLFLOW]),
    "alone": (
        "Milliseconds of predict for one row",
        lambda alone: next(iter(alone.values())),
    ),
    "promotion": (
        "Seconds until a promoted version is as fast",
        lambda promotion: dict.fromkeys(("median", "low", "high"), promotion[NOW]["back_seconds"]),
    ),
}
"""Of each part, a chart's title, and what its bars show."""
