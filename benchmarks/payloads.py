"""Time per request by size and by kind, of this server and of `mlflow models serve`."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Client, median_seconds
from benchmarks.errors import BenchmarkError
from benchmarks.large import kinds
from benchmarks.machine import describe_machine
from benchmarks.models import row_sums, save_row_sums, table
from benchmarks.paths import BENCH
from benchmarks.processes import free_port
from benchmarks.servers import MLFLOW, Running, Site, this_server
from benchmarks.summaries import Spread
from benchmarks.targets import Target

COMPETITORS = (this_server(), MLFLOW)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rows: Of the requests.
        columns: Of the models.
        rounds: How often everything is measured.
        seconds: What each measurement takes, at least 3 requests.
    """

    rows: Sequence[int] = (1, 100, 10_000)
    columns: Sequence[int] = (1, 50, 600)
    rounds: int = 3
    seconds: float = 2.0


QUICK = Plan(rounds=2, seconds=0.5)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent.

    Attributes:
        title: What people read.
        body: JSON.
        labels: What its answer must be; `None` if both servers' must be the same.
    """

    title: str
    body: bytes
    labels: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The median time per request of one server in one round."""

    server: str
    title: str
    milliseconds: float


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: a server failed, or answered what the model doesn't.
    """
    BENCH.mkdir(exist_ok=True)
    machine = describe_machine()
    cells: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="payloads-", dir=BENCH) as directory:
        for columns in plan.columns:
            home = Path(directory) / str(columns)
            home.mkdir()
            cells += _measure_columns(plan, columns, home)
        for number, kind in enumerate(kinds()):
            home = Path(directory) / f"kind-{number}"
            home.mkdir()
            request = Request(kind.title, json.dumps(kind.document).encode())
            samples = [*_measure(plan, kind.save(home), [request], home)]
            others.append({"title": kind.title, "bytes": len(request.body), **_times(samples)})
    return {
        "machine": machine,
        "plan": asdict(plan),
        "servers": {c.key: c.title for c in COMPETITORS},
        "cells": cells,
        "kinds": others,
        "targets": [target.to_json() for target in _targets(cells, others)],
    }


def _measure_columns(plan: Plan, columns: int, directory: Path) -> Iterator[dict[str, Any]]:
    model_path = save_row_sums(directory, columns)
    requests = []
    for rows in plan.rows:
        frame = table(rows, columns)
        body = json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()
        title = f"{rows:,} rows of {columns} columns"
        requests.append(Request(title, body, row_sums(model_path, frame)))
    samples = [*_measure(plan, model_path, requests, directory)]
    for rows, request in zip(plan.rows, requests, strict=True):
        some = [sample for sample in samples if sample.title == request.title]
        yield {"rows": rows, "columns": columns, **_times(some)}


def _measure(
    plan: Plan, model_path: Path, requests: Sequence[Request], directory: Path
) -> Iterator[Sample]:
    with ExitStack() as stack:
        servers = []
        for competitor in COMPETITORS:
            home = directory / competitor.key
            home.mkdir()
            site = Site(
                port=free_port(),
                directory=home,
                programs=Path(),
                tracking_uri=f"sqlite:///{directory}/mlflow.db",
                model_uri=str(model_path),
                model_path=model_path,
            )
            servers.append(stack.enter_context(Running(competitor, site)))
        for server in servers:
            server.wait_until_ready()
        for request in requests:
            _check_answers(servers, request)
            for number in range(1, plan.rounds + 1):
                for server in servers:
                    path = server.competitor.path
                    took = median_seconds(server.port, path, request.body, plan.seconds)
                    milliseconds = 1000 * took
                    yield Sample(server.competitor.key, request.title, milliseconds)
                    print(
                        f"Round {number}, {request.title} ({len(request.body):,} bytes), "
                        f"{server.competitor.title}: {milliseconds:.2f} ms",
                        flush=True,
                    )


def _check_answers(servers: Sequence[Running], request: Request) -> None:
    expected = request.labels
    for server in servers:
        client = Client(server.port)
        answer = json.loads(client.post(server.competitor.path, request.body))
        client.close()
        labels = server.competitor.labels(answer)
        expected = labels if expected is None else expected
        if labels != expected:
            raise BenchmarkError(f"{server.competitor.title} doesn't answer what the model does")


def _times(samples: Sequence[Sample]) -> dict[str, Any]:
    """The times for a request in all rounds, and how many times faster the first server is."""
    own, other = (
        [sample.milliseconds for sample in samples if sample.server == competitor.key]
        for competitor in COMPETITORS
    )
    return {
        "milliseconds": {
            competitor.key: Spread.of(values).to_json()
            for competitor, values in zip(COMPETITORS, (own, other), strict=True)
        },
        "times_faster": Spread.of(b / a for a, b in zip(own, other, strict=True)).to_json(),
    }


def _targets(cells: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> Iterator[Target]:
    for cell in cells:
        rows, columns = cell["rows"], cell["columns"]
        if (rows, columns) in ((10_000, 1), (10_000, 50), (1, 600)):
            noun = "row" if rows == 1 else "rows"
            what = f"{rows:,} {noun} of {columns} columns, times faster than {MLFLOW.title}"
            yield Target(what, 3, Spread(**cell["times_faster"]), at_least=True)
    for kind in others:
        what = f"{kind['title']}, times faster than {MLFLOW.title}"
        yield Target(what, 1, Spread(**kind["times_faster"]), at_least=True)
