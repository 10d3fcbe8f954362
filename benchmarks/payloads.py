"""Time per request by rows and columns, of this server and of `mlflow models serve`."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Client
from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe_machine
from benchmarks.models import row_sums, save_row_sums, table
from benchmarks.paths import BENCH
from benchmarks.processes import free_port
from benchmarks.servers import MLFLOW, Running, Site, this_server
from benchmarks.summaries import Spread
from benchmarks.targets import Target

COMPETITORS = (this_server(), MLFLOW)

_FEWEST_REQUESTS = 3


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
class Sample:
    """The median time per request of one server in one round."""

    server: str
    rows: int
    columns: int
    milliseconds: float


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: a server failed, or answered what the model doesn't.
    """
    BENCH.mkdir(exist_ok=True)
    machine = describe_machine()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(prefix="payloads-", dir=BENCH) as directory:
        for columns in plan.columns:
            home = Path(directory) / str(columns)
            home.mkdir()
            samples += _measure_columns(plan, columns, home)
    cells = [_cell(samples, rows, columns) for columns in plan.columns for rows in plan.rows]
    return {
        "machine": machine,
        "plan": asdict(plan),
        "servers": {c.key: c.title for c in COMPETITORS},
        "cells": cells,
        "targets": [target.to_json() for target in _targets(cells)],
    }


def _measure_columns(plan: Plan, columns: int, directory: Path) -> Iterator[Sample]:
    model_path = save_row_sums(directory, columns)
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
        for rows in plan.rows:
            frame = table(rows, columns)
            body = json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()
            expected = row_sums(model_path, frame)
            for server in servers:
                _check_answer(server, body, expected)
            for number in range(1, plan.rounds + 1):
                for server in servers:
                    milliseconds = 1000 * _median_seconds(server, body, plan.seconds)
                    yield Sample(server.competitor.key, rows, columns, milliseconds)
                    print(
                        f"Round {number}, {rows:,} rows of {columns} columns "
                        f"({len(body):,} bytes), {server.competitor.title}: {milliseconds:.2f} ms",
                        flush=True,
                    )


def _check_answer(server: Running, body: bytes, expected: list[float]) -> None:
    client = Client(server.port)
    answer = json.loads(client.post(server.competitor.path, body))
    client.close()
    if server.competitor.labels(answer) != expected:
        raise BenchmarkError(f"{server.competitor.title} doesn't answer what the model does")


def _median_seconds(server: Running, body: bytes, seconds: float) -> float:
    client = Client(server.port)
    durations: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(durations) < _FEWEST_REQUESTS:
        started = time.perf_counter()
        client.post(server.competitor.path, body)
        durations.append(time.perf_counter() - started)
    client.close()
    return Spread.of(durations).median


def _cell(samples: Sequence[Sample], rows: int, columns: int) -> dict[str, Any]:
    own, other = (
        [
            s.milliseconds
            for s in samples
            if (s.server, s.rows, s.columns) == (competitor.key, rows, columns)
        ]
        for competitor in COMPETITORS
    )
    return {
        "rows": rows,
        "columns": columns,
        "milliseconds": {
            competitor.key: Spread.of(values).to_json()
            for competitor, values in zip(COMPETITORS, (own, other), strict=True)
        },
        "times_faster": Spread.of(b / a for a, b in zip(own, other, strict=True)).to_json(),
    }


def _targets(cells: Sequence[dict[str, Any]]) -> Iterator[Target]:
    for cell in cells:
        rows, columns = cell["rows"], cell["columns"]
        if (rows, columns) in ((10_000, 1), (10_000, 50), (1, 600)):
            noun = "row" if rows == 1 else "rows"
            what = f"{rows:,} {noun} of {columns} columns, times faster than {MLFLOW.title}"
            yield Target(what, 3, Spread(**cell["times_faster"]), at_least=True)
