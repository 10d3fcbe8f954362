"""Table and chart of the payload benchmark."""

from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.markdown import spread, table


def body(results: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    servers = results["servers"]
    rows = [
        [
            _size(cell),
            *(spread(cell["milliseconds"][key], 2) for key in servers),
            spread(cell["times_faster"], 2),
        ]
        for cell in results["cells"]
    ]
    heads = ["`dataframe_split`", *servers.values(), "times faster"]
    return f"Milliseconds per request, on one connection:\n\n{table(heads, rows)}"


def chart(results: dict[str, Any]) -> str:
    """How many times faster, as bars."""
    bars = []
    for cell in results["cells"]:
        times = cell["times_faster"]
        bars.append(Bar(_size(cell), times["median"], times["low"], times["high"]))
    title = "How many times faster than mlflow models serve, by payload"
    return bar_chart(title, [Group("", bars)], digits=1)


def _size(cell: dict[str, Any]) -> str:
    rows, columns = cell["rows"], cell["columns"]
    return f"{rows:,} row{'s' * (rows != 1)} of {columns} column{'s' * (columns != 1)}"
