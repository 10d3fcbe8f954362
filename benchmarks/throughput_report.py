"""Tables and chart of the throughput benchmark."""

from typing import Any

from benchmarks.charts import Bar, Group, bar_chart
from benchmarks.markdown import mebibytes, spread, table


def body(results: dict[str, Any]) -> str:
    """The numbers in Markdown."""
    connections = [f"{count}" for count in results["plan"]["connections"]]
    servers = results["servers"]
    heads = ["", *(f"{count} connection{'s' * (count != '1')}" for count in connections)]
    rates = table(
        [*heads, "failures"],
        [
            [
                _name(server),
                *(spread(cell["requests_per_second"]) for cell in server["cells"]),
                f"{sum(cell['failures'] for cell in server['cells'])}",
            ]
            for server in servers
        ],
    )
    latencies = table(
        heads,
        [
            [
                _name(server),
                *(
                    f"{cell['p50_ms']['median']:.2f} / {cell['p99_ms']['median']:.2f}"
                    for cell in server["cells"]
                ),
            ]
            for server in servers
        ],
    )
    memory = table(
        ["", "processes", "at rest", "after the load"],
        [
            [
                _name(server),
                f"{server['processes']}",
                mebibytes(server["at_rest_bytes"]["median"]),
                mebibytes(server["after_bytes"]["median"]),
            ]
            for server in servers
        ],
    )
    plan = results["plan"]
    direct = spread(results["model_predict_p50_ms"], 2)
    texts = [
        f"Requests per second, one text row each, {plan['rounds']} rounds of {plan['seconds']} s:",
        rates,
        f"Latency, p50 / p99 in ms; `model.predict` of one row in a loop takes {direct} ms:",
        latencies,
        "Memory of all processes (proportional set size):",
        memory,
    ]
    if (batching := results["batching"]) is not None:
        merging = "yes" if batching["merging"] else "no"
        texts.append(f"This server merged requests: {merging} ({batching['reason']}).")
    return "\n\n".join(texts)


def chart(results: dict[str, Any]) -> str:
    """Requests per second as bars."""
    groups = []
    for index, count in enumerate(results["plan"]["connections"]):
        bars = []
        for server in results["servers"]:
            rate = server["cells"][index]["requests_per_second"]
            bars.append(Bar(server["title"], rate["median"], rate["low"], rate["high"]))
        groups.append(Group(f"{count} connection{'s' * (count != 1)}", bars))
    return bar_chart("Requests per second, one text row each", groups)


def _name(server: dict[str, Any]) -> str:
    return f"{server['title']} ({server['version']})" if server["version"] else server["title"]
