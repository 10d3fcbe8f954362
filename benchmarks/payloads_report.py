"""Table and chart of the payload benchmark."""

from collections.abc import Iterator
from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.markdown import spread, table


def body(results: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    servers = results["servers"]
    tables = [
        table(
            [heading, *servers.values(), "times faster"],
            [
                [
                    title,
                    *(spread(cell["milliseconds"][key], 2) for key in servers),
                    spread(cell["times_faster"], 2),
                ]
                for title, cell in titled
            ],
        )
        for heading, titled in _groups(results)
    ]
    return "\n\n".join(["Milliseconds per request, on one connection:", *tables])


def chart(results: dict[str, Any]) -> str:
    """How many times faster, as bars."""
    groups = []
    for heading, titled in _groups(results):
        bars = []
        for title, cell in titled:
            times = cell["times_faster"]
            bars.append(Bar(_plain(title), times["median"], times["low"], times["high"]))
        groups.append(Group(_plain(heading), bars))
    title = "How many times faster than mlflow models serve, by payload"
    return bar_chart(title, groups, digits=1)


def _groups(results: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """What was measured, by what it is, with its titles in Markdown."""
    yield "`dataframe_split`", [(_size(cell), cell) for cell in results["cells"]]
    if kinds := results.get("kinds"):
        titled = [(f"{kind['title']} ({kind['bytes']:,} bytes)", kind) for kind in kinds]
        yield "1,000 rows of other kinds", titled


def _plain(markdown: str) -> str:
    return markdown.partition(" (")[0].replace("`", "")


def _size(cell: dict[str, Any]) -> str:
    rows, columns = cell["rows"], cell["columns"]
    return f"{rows:,} row{'s' * (rows != 1)} of {columns} column{'s' * (columns != 1)}"
