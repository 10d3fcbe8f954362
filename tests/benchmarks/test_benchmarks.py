"""The pure parts of the benchmarks: sums, goals, reports and charts."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.charts import Bar, Group, Line, bar_chart, timeline_chart
from benchmarks.markdown import spread, table
from benchmarks.samples import Samples, split_by_windows
from benchmarks.summaries import Spread, latencies, percentile
from benchmarks.targets import Target
from benchmarks.wrk import parse_wrk


@pytest.mark.parametrize(
    ("share", "expected"), [(0.001, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1, 100)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected


def test_percentile_of_one_value() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.999) == 7.0


def test_latencies_are_summed_up_in_milliseconds() -> None:
    assert latencies([0.003, 0.001, 0.002]) == {
        "requests": 3,
        "p50_ms": 2.0,
        "p99_ms": 3.0,
        "p99_9_ms": 3.0,
        "max_ms": 3.0,
    }
    assert latencies([]) == {}


@pytest.mark.parametrize(
    ("at_least", "low", "met"), [(True, 2.0, True), (True, 1.9, False), (False, 2.1, False)]
)
def test_the_median_decides_whether_a_goal_is_met(at_least: bool, low: float, met: bool) -> None:
    target = Target("speed", 2, Spread.of([0, low, 9]), at_least)
    assert target.met is met


def test_wrk_counts_only_good_answers_in_the_rate() -> None:
    result = parse_wrk(
        {
            "requests": 1000,
            "microseconds": 2_000_000,
            "p50": 1500,
            "p99": 9000,
            "max": 12_000,
            "not_ok": 100,
            "broken": 3,
        }
    )
    assert result.requests_per_second == 450
    assert (result.p50_ms, result.p99_ms, result.max_ms) == (1.5, 9, 12)
    assert result.failures == 103


def test_requests_are_sorted_by_the_windows_that_they_met() -> None:
    samples = Samples()
    samples.due.extend([0.5, 1.0, 1.9, 2.5, 3.1, 5.0])
    samples.latency.extend([0.9, 0.1, 0.2, 0.1, 0.1, 0.1])
    steady, swapping = split_by_windows(samples, [(2.0, 3.0), (4.0, 4.5)], began=1.0)
    # The first was due too early; the third was under way as the window opened.
    assert (steady, swapping) == ([1, 4, 5], [2, 3])


def test_samples_survive_their_file(tmp_path: Path) -> None:
    samples = Samples()
    samples.due.append(1.25)
    samples.late.append(0.0)
    samples.latency.append(0.5)
    samples.status.append(200)
    samples.version.append(2)
    samples.save(tmp_path / "samples.json")
    assert vars(Samples.load(tmp_path / "samples.json")) == vars(samples)


def test_a_table_in_markdown() -> None:
    values = Spread.of([1000, 1500, 2000]).to_json()
    assert table(["server", "rate"], [["this", spread(values)]]).splitlines() == [
        "| server | rate |",
        "| --- | ---: |",
        "| this | 1,500 (1,000 to 2,000) |",
    ]


def test_bars_are_drawn_to_scale() -> None:
    bars = [Bar("a < b", 100, 90, 110), Bar("c", 50, 50, 50)]
    document = ET.fromstring(bar_chart("Rates", [Group("64 connections", bars)]))  # noqa: S314
    widths = [float(r.attrib["width"]) for r in document.iterfind(".//{*}rect") if "x" in r.attrib]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.1)
    assert "a < b" in [text.text for text in document.iterfind(".//{*}text")]


def test_bars_may_all_be_nothing() -> None:
    document = ET.fromstring(bar_chart("Seconds", [Group("", [Bar("a", 0.0, 0.0, 0.0)])]))  # noqa: S314
    assert "a" in [text.text for text in document.iterfind(".//{*}text")]


def test_a_timeline_shades_its_windows() -> None:
    line = Line("longest", [(0.0, 3.0), (10.0, 7.0)])
    document = ET.fromstring(timeline_chart("Latency", [line], [(2.0, 4.0)], "s"))  # noqa: S314
    assert len(list(document.iterfind(".//{*}polyline"))) == 1
    assert "#ffe8b3" in [r.attrib["fill"] for r in document.iterfind(".//{*}rect")]


def test_results_are_kept_as_json_table_and_chart(tmp_path: Path) -> None:
    one = Spread.of([1.0, 2.0, 3.00000001]).to_json()
    results = {
        "machine": {
            "date": "2026-01-31",
            "cpu": "Some CPU",
            "cores": 2,
            "memory_gib": 8,
            "load_average": 0.25,
            "python": "3.11.7",
            "packages": {"mlflow": "3.17.2"},
        },
        "servers": {"this": "this server", "mlflow": "mlflow models serve"},
        "cells": [
            {
                "rows": 1,
                "columns": 600,
                "milliseconds": {"this": one, "mlflow": one},
                "times_faster": one,
            }
        ],
        "kinds": [
            {
                "title": "texts, `list[str]`",
                "bytes": 54_000,
                "milliseconds": {"this": one, "mlflow": one},
                "times_faster": one,
            }
        ],
        "targets": [Target("faster", 3, Spread.of([2.0]), at_least=True).to_json()],
    }
    text = report.write("payloads", results, tmp_path).read_text()
    assert "Measured on 2026-01-31: Some CPU, 2 cores" in text
    assert "| faster | at least 3 | 2.00 | no |" in text
    assert "| 1 row of 600 columns | 2.00 (1.00 to 3.00) |" in text
    assert "| texts, `list[str]` (54,000 bytes) | 2.00 (1.00 to 3.00) |" in text
    assert (tmp_path / "payloads.svg").read_text().startswith("<svg ")
    assert '"high": 3.0' in (tmp_path / "payloads.json").read_text()
    report.render("payloads", tmp_path)
    assert (tmp_path / "payloads.md").read_text() == text
