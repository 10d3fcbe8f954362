"""The benchmark of types of models: what it counts and reports, and one small run."""

import asyncio
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import models_report
from benchmarks.errors import BenchmarkError
from benchmarks.kinds import alone
from benchmarks.kinds.answers import agree, require_equal
from benchmarks.kinds.benchmark import PARTS, Plan, targets
from benchmarks.kinds.catalogue import ENVIRONMENTS, KINDS
from benchmarks.kinds.contest import times
from benchmarks.kinds.promotion import summary
from benchmarks.kinds.requests import BODIES, ROWS, Requests
from benchmarks.kinds.saving import tables
from benchmarks.kinds.saving import texts as text_models
from benchmarks.paths import PACKAGE, REPOSITORY
from benchmarks.samples import Samples
from benchmarks.summaries import Spread

_SMALL = ("--quick", "--models", "texts", "--clients", "1,16")
_FACTOR = web.AppKey("factor", float)


def test_requests_have_the_form_that_the_protocol_wants(tmp_path: Path) -> None:
    framed = Requests("dataframe_split", [[1, None], [2, "b"]], ["x", "y"])
    split = {"columns": ["x", "y"], "data": [[2, "b"]]}
    assert framed.body(1, 1) == {"dataframe_split": split}
    assert Requests("inputs", [[1], [2]]).body(0, 2) == {"inputs": [[1], [2]]}
    assert Requests("inputs", [[1], [2]], tensor="x").body(0, 1) == {"inputs": {"x": [[1]]}}
    framed.save(tmp_path / "rows.json")
    assert Requests.load(tmp_path / "rows.json") == framed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([{"label": "a", "score": 0.5}], [{"label": "a", "score": 0.500001}], True),
        ([{"label": "a", "score": 0.5}], [{"label": "b", "score": 0.5}], False),
        ([[1000.0, 1e-7]], [[1000.0, 2e-7]], True),
        ([[1.0, 1e-3]], [[1.0, 2e-3]], False),
        ([1.0], [1], True),
        ([1], [2], False),
        ([1.0], [None], False),
        ([1.0], [float("nan")], False),
        ([1.0], [1.0, 1.0], False),
        ({"y": [1.0]}, {"z": [1.0]}, False),
        ([True], [True], True),
        ([], [], True),
    ],
)
def test_answers_may_differ_by_rounding_only(one: Any, other: Any, same: bool) -> None:
    assert agree(one, other) is same
    assert agree(other, one) is same


def test_servers_are_compared_round_by_round() -> None:
    rates = {"before": [50.0, 100.0], "now": [100.0, 400.0], "mlflow": [10.0, 0.0]}
    assert times(rates) == {
        "before": {"median": 3.0, "low": 2.0, "high": 4.0},
        "mlflow": {"median": 5.0, "low": 0.0, "high": 10.0},
    }
    took = {"now": [2.0], "mlflow": [3.0]}
    assert times(took, inverse=True)["mlflow"]["median"] == 1.5


def _samples(*stretches: tuple[float, float, int, int]) -> Samples:
    """Requests: from when to when, how many a second, and which version answered them."""
    samples = Samples()
    for begin, end, rate, version in stretches:
        for number in range(round((end - begin) * rate)):
            due = begin + number / rate
            samples.add(due, due, due + 0.001, 200, version)
    return samples


def test_a_promoted_version_is_back_once_it_is_as_fast_for_a_second() -> None:
    samples = _samples((96, 100, 100, 1), (100, 101, 50, 1), (101, 103, 20, 2), (103, 108, 90, 2))
    result = summary(samples, asked=100.0, before_seconds=2.0)
    assert result["before"] == pytest.approx(100, rel=0.02)
    assert result["swap_seconds"] == pytest.approx(1.0, abs=0.01)
    # A second of which a seventh is slow still has four fifths.
    assert result["back_seconds"] == pytest.approx(1.9, abs=0.11)
    assert result["failures"] == 0


def test_a_version_that_is_never_as_fast_takes_all_the_time_there_was() -> None:
    samples = _samples((96, 100, 100, 1), (100, 106, 79, 2))
    samples.add(105.0, 105.0, 105.5, 503, 0)
    result = summary(samples, asked=100.0, before_seconds=2.0)
    assert result["back_seconds"] == pytest.approx(6.0, abs=0.05)
    assert result["failures"] == 1
    with pytest.raises(BenchmarkError):
        summary(_samples((96, 100, 100, 1)), asked=100.0, before_seconds=2.0)


def test_every_type_has_an_environment_and_a_maker() -> None:
    assert len(KINDS) >= 12
    for kind in KINDS.values():
        assert kind.library in ENVIRONMENTS
        module, function = kind.maker
        source = PACKAGE / "kinds" / "saving" / f"{module}.py"
        assert f"\ndef {function}(path: str) -> Requests:" in source.read_text()


# MLflow's own, as it saves an example that is a frame.
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
@pytest.mark.parametrize(
    "make",
    [tables.unsigned, tables.dates, tables.arrays, text_models.typed],
    ids=lambda f: f.__name__,
)
def test_models_answer_their_own_requests(make: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    requests: Requests = make(path)
    assert len(requests.rows) == ROWS
    assert len({json.dumps(body) for body in requests.bodies()}) == BODIES
    found = alone.measure(path, requests, 0.03)
    assert set(found) == {f"{size}" for size in alone.SIZES}
    assert all(milliseconds > 0 for milliseconds in found.values())


@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")
def test_missing_values_are_null_in_requests(tmp_path: Path) -> None:
    requests = tables.missing(str(tmp_path / "model"))
    cells = [cell for row in requests.rows for cell in row]
    assert 0.08 < cells.count(None) / len(cells) < 0.12
    schema = mlflow.pyfunc.load_model(str(tmp_path / "model")).metadata.get_input_schema()
    assert not any(column.required for column in schema.inputs)


def _spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


def _cell(clients: int, factor: float) -> dict[str, Any]:
    return {
        "clients": clients,
        "requests_per_second": {
            "before": _spread(90.0),
            "now": _spread(100.0 * factor),
            "mlflow": _spread(100.0),
        },
        "requests_per_second_times": {"before": _spread(1.25), "mlflow": _spread(factor)},
        "p50_ms": {"before": _spread(1.0), "now": _spread(1.5), "mlflow": _spread(3.0)},
        "p50_times": {"before": _spread(1.0), "mlflow": _spread(2.0)},
        "failures": {"before": 5, "now": 1, "mlflow": 7},
    }


def _result(title: str, faster_at_16: float) -> dict[str, Any]:
    sizes = {
        name: _spread(mebibytes * 2.0**20) for name, mebibytes in (("now", 630), ("mlflow", 600))
    }
    promoted = {"before": 5000.0, "swap_seconds": 1.5, "back_seconds": 6.0, "failures": 2}
    return {
        "title": title,
        "versions": {"scikit-learn": "1.9.1"},
        "loads": {
            "cells": [_cell(1, 1.5), _cell(16, 6.0), _cell(64, 20.0)],
            "thousand_ms": {"now": _spread(8.0), "mlflow": _spread(6.0)},
            "thousand_times": {"before": _spread(1.0), "mlflow": _spread(0.75)},
            "merging": {"merging": True, "reason": "it is safe"},
        },
        "starts": {
            "seconds": {"now": _spread(4.0), "mlflow": _spread(5.0)},
            "seconds_times": {"mlflow": _spread(1.25)},
            "pss_bytes": sizes,
            "pss_times": {"mlflow": _spread(1.05)},
        },
        "alone": {
            "1": _spread(1.0),
            "16": _spread(1.0 / faster_at_16),
            "64": _spread(1.0 / 64),
        },
        "promotion": {"now": {**promoted, "merging": {"merging": False, "reason": ""}}},
    }


def _results() -> dict[str, Any]:
    return {
        "plan": asdict(Plan()),
        "servers": {"before": "1234567", "now": "89abcde"},
        "forest": _result("forest of 100 trees", 10.0),
        "dates": _result("a date column", 7.0),
    }


def test_goals_depend_on_whether_merging_pays() -> None:
    goals = {goal.what: goal for goal in targets(_results())}
    assert {what: goal.met for what, goal in goals.items()} == {
        "forest of 100 trees: requests/s at 16, times": False,
        "forest of 100 trees: least of all others (1,000 rows)": False,
        "a date column: requests/s at 16, times": True,
        "a date column: least of all others (1,000 rows)": False,
        "memory, times that of mlflow models serve, at most (forest of 100 trees)": True,
        "until a promoted version is as fast, at most (forest of 100 trees)": False,
        "requests to this server that failed": False,
    }
    assert goals["forest of 100 trees: requests/s at 16, times"].limit == 8
    assert goals["a date column: requests/s at 16, times"].limit == 4
    assert goals["requests to this server that failed"].measured == Spread.of([2 * (3 + 2)])


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_reported_by_itself(part: str) -> None:
    results = _results()
    for key in ("forest", "dates"):
        results[key] = {name: results[key][name] for name in ("title", "versions", part)}
    assert "a date column" in models_report.body(results)
    ET.fromstring(models_report.chart(results))  # noqa: S314
    assert list(targets(results))


def test_what_is_reported() -> None:
    text = models_report.body(_results())
    assert "before is 1234567, now is 89abcde" in text
    assert "Libraries: scikit-learn 1.9.1." in text
    assert "| a date column | 150 | 100 | 1.5 | 600 | 100 | 6.0 | 2,000 | 100 | 20.0 |" in text
    assert "| 1.50 / 3.00: 2.00 | 8.0 / 6.0: 0.75 | 4.0 / 5.0: 1.25 | 630 / 600: 1.05 |" in text
    assert "- forest of 100 trees: yes, it is safe" in text
    assert "| forest of 100 trees | 1.0000 | 0.1000 | 0.0156 | yes |" in text
    assert "| a date column | 1.0000 | 0.1429 | 0.0156 | no |" in text
    assert "| a date column | 5,000 | 1.5 | 6.0 | no | 2 |" in text
    assert "| a date column | 1.25 | 1.25 | 1.25 | 1.00 |" in text


async def _predicts(request: web.Request) -> web.Response:
    numbers = (await request.json())["inputs"]
    return web.json_response({"predictions": [n * request.app[_FACTOR] for n in numbers]})


async def test_servers_that_answer_differently_are_not_compared() -> None:
    async with AsyncExitStack() as stack:
        ports = {}
        for title, factor in (("one", 2.0), ("same", 2.0000001), ("other", 3.0)):
            app = web.Application()
            app[_FACTOR] = factor
            app.router.add_post("/invocations", _predicts)
            server = await stack.enter_async_context(TestServer(app))
            assert server.port is not None
            ports[title] = server.port
        bodies = Requests("inputs", [0, 7]).body(0, 1), Requests("inputs", [0, 7]).body(1, 1)
        alike = {title: ports[title] for title in ("one", "same")}
        await asyncio.to_thread(require_equal, alike, bodies)
        with pytest.raises(BenchmarkError, match=r"one and other answer .*7.* differently"):
            await asyncio.to_thread(require_equal, ports, bodies)


@pytest.mark.faults
@pytest.mark.untimed
@pytest.mark.timeout(900)
def test_types_of_models_are_measured_and_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--output", str(tmp_path), "models", *_SMALL]
    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=890
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "models.json").read_text())
    assert set(PARTS) <= set(results["texts"])
    assert (tmp_path / "models.svg").read_text().startswith("<svg ")
