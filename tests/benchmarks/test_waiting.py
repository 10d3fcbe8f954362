"""The benchmark of models that wait and stream: what it counts and reports, and one small run."""

import asyncio
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks import waiting_report
from benchmarks.errors import BenchmarkError
from benchmarks.eventstream import EventStream
from benchmarks.paths import REPOSITORY
from benchmarks.samples import Samples
from benchmarks.streamload import Stream, StreamLoad, run_streams
from benchmarks.waiting import bursts, classifier, loads, streams
from benchmarks.waiting.benchmark import PARTS, Plan, targets
from benchmarks.wrk import WrkResult

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_REFUSAL = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{"a":1}'
_FIRST = b'data: {"number": 0, "at": 10.0}\n\n'
_SECOND = b'data: {"number": 1, "at": 10.5}\n\n'
_DONE = b"data: [DONE]\n\n"
_SMALL = (*("--quick", "--seconds", "0.5", "--parts", "awaiting,calling,streams,classifier"),)


def _answer(*chunks: bytes) -> bytes:
    coded = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
    return _HEAD + b"".join(coded)


def _read(answer: bytes, size: int = 65536) -> EventStream:
    stream = EventStream()
    for start in range(0, len(answer), size):
        assert not stream.ended
        stream.feed(answer[start : start + size], 11.0)
    return stream


@pytest.mark.parametrize("size", [1, 2, 7, 65536])
def test_a_stream_is_read_in_pieces_of_any_size(size: int) -> None:
    in_chunks = _answer(_FIRST, _SECOND, _DONE)
    across_chunks = _answer(_FIRST + _SECOND[:9], _SECOND[9:] + _DONE)
    for answer in (in_chunks, across_chunks):
        stream = _read(answer, size)
        assert stream.ended
        assert not stream.closes
        assert stream.whole(2)
        assert stream.latencies == [1.0, 0.5]


@pytest.mark.parametrize(
    "answer",
    [
        _answer(_FIRST, _DONE),
        _answer(_SECOND, _FIRST, _DONE),
        _answer(_FIRST, _SECOND),
        _answer(_FIRST, _SECOND, _DONE, _DONE),
        _answer(_FIRST, _SECOND, b'data: {"error": {"message": "no"}}\n\n', _DONE),
        _answer(_FIRST, b": a comment\n\n", _SECOND, _DONE),
        _answer(_FIRST, _SECOND, _DONE)[:-1],
        _answer(_FIRST, _SECOND, _DONE).replace(b"200 OK", b"500 Oh"),
        _answer(_FIRST, _SECOND, _DONE).replace(b"text/event-stream", b"text/plain"),
        _answer(_FIRST, _SECOND, _DONE, b"more"),
        _REFUSAL,
        b"",
    ],
)
def test_a_stream_that_lacks_anything_is_not_whole(answer: bytes) -> None:
    assert not _read(answer).whole(2)


def test_an_answer_that_is_no_stream_ends_and_is_told() -> None:
    stream = _read(_REFUSAL, 5)
    assert stream.ended
    assert stream.closes
    assert "400 Bad Request" in stream.said()


async def _ticks(request: web.Request) -> web.StreamResponse:
    """As a server of the model in ticker.py, but for a pause after the last chunk, too."""
    asked = (await request.json())["dataframe_records"][0]
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for number in range(asked["chunks"]):
        chunk = {"number": number, "at": time.monotonic()}
        await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await asyncio.sleep(asked["seconds"])
    await answer.write(_DONE)
    return answer


async def test_streams_run_side_by_side_and_one_after_another() -> None:
    app = web.Application()
    app.router.add_post("/invocations", _ticks)
    async with TestServer(app) as server:
        assert server.port is not None
        load = StreamLoad(server.port, connections=5, seconds=0.2, chunks=3, gap_seconds=0.05)
        began = time.monotonic()
        done = await asyncio.to_thread(run_streams, load)
        took = time.monotonic() - began
    assert all(stream.whole for stream in done), done
    assert len(done) >= 10
    assert all(0.15 <= stream.seconds <= took for stream in done)
    assert all(0 <= late <= took for stream in done for late in stream.latencies)
    assert [len(stream.latencies) for stream in done] == [3] * len(done)


def _samples(*requests: tuple[float, float, int]) -> Samples:
    samples = Samples()
    for began, done, status in requests:
        samples.add(began, began, done, status, 1)
    return samples


def test_only_good_answers_count() -> None:
    samples = _samples((10.0, 11.0, 200), (10.0, 12.0, 200), (10.0, 19.0, 503))
    burst = bursts.summary([samples])
    assert burst["last_seconds"]["median"] == 2
    assert burst["requests_per_second"]["median"] == 1
    assert burst["failures"] == 1
    load = loads.summary([samples])
    assert load["requests_per_second"]["median"] == 1
    assert (load["p50_ms"]["median"], load["p99_ms"]["median"]) == (1000, 2000)
    assert load["failures"] == 1
    for summary in (bursts.summary, loads.summary):
        with pytest.raises(BenchmarkError):
            summary([_samples((10.0, 10.5, 500))])


def test_streams_that_are_not_whole_are_failures() -> None:
    good = Stream(True, "", 1.0, [0.001, 0.003])
    cut = Stream(False, "HTTP/1.1 200 OK, 1 chunks, no end", 9.0, [0.5])
    result = streams.summary([good, cut])
    assert (result["streams"], result["failures"]) == (2, 1)
    assert result["first"]["p50_ms"] == 1
    assert result["all"]["max_ms"] == 3
    with pytest.raises(BenchmarkError, match="1 chunks, no end"):
        streams.summary([cut])


def _turn(rate: float, p50_ms: float) -> classifier.Turn:
    return classifier.Turn(WrkResult(rate, p50_ms, 9.0, 9.0, 1000, 0, 0), 0.125 * p50_ms)


def test_the_classifier_is_compared_turn_by_turn() -> None:
    measured: classifier.Turns = {}
    for connections in classifier.CONNECTIONS:
        measured["before", connections] = [_turn(100, 2.0), _turn(200, 1.0), _turn(100, 2.0)]
        measured["now", connections] = [_turn(90, 2.0), _turn(180, 1.5), _turn(110, 2.0)]
    one, many = classifier.against(measured, "before", "now")
    assert (one["connections"], many["connections"]) == classifier.CONNECTIONS
    assert one["requests_per_second"] == {"median": 0.9, "low": 0.9, "high": 1.1}
    assert one["p50_ms"] == one["processor_us"] == {"median": 1.0, "low": 1.0, "high": 1.5}
    assert classifier.against(measured, "now") == []


def _spread(median: float) -> dict[str, float]:
    return {"median": median, "low": median, "high": median}


def _results() -> dict[str, Any]:
    burst = {"requests_per_second": _spread(14.5), "failures": 0}
    rates = {
        **{key: _spread(20.0) for key in ("requests_per_second", "p50_ms", "p99_ms")},
        "failures": 0,
    }
    found = {"slots": 32, "waits": True, "streams": False, "reason": "it was blocked"}
    both = [
        {"server": "this server", "clients": 16, "last_seconds": _spread(1.125), **burst},
        {"server": "mlflow models serve", "clients": 16, "last_seconds": _spread(3.0), **burst},
    ]
    asked = [{"server": "this server", "clients": 16, **rates}]
    times = {"p50_ms": 1.5, "p99_ms": 6.0}
    stream = {"streams": 9, "failures": 0, "first": times, "all": times, "lasted": times}
    sizes = {"before": 60, "peak": 75, "after": 62}
    crowd = {
        **{f"gateway_{when}_bytes": size * 2**20 for when, size in sizes.items()},
        "connections": 200,
        **stream,
        "failures": 2,
        "at_least_seconds": 0.95,
    }
    times_before = dict.fromkeys(("p50_ms", "p99_ms", "processor_us"), _spread(1.01))
    ratio = {"connections": 1, "requests_per_second": _spread(0.95), **times_before}
    return {
        "plan": asdict(Plan()),
        "servers": {"before": "1234567", "now": "89abcde"},
        "sleeping": {"found": found, "cells": both},
        "awaiting": {"found": found, "cells": both[:1], "mlflow_status": 500},
        "calling": {"found": {}, "cells": asked},
        "chat": {"found": found, "cells": asked},
        "streams": {
            "found": found,
            "cells": [{"connections": 1, **stream}],
            "crowd": crowd,
            "mlflow": {"status": 400, "content_type": "application/json"},
        },
        "classifier": {
            "found": found,
            "cells": [
                {"server": name, "clients": 1, **rates, "processor_us": _spread(300.0)}
                for name in ("before", "now")
            ],
            "against": [ratio],
        },
    }


def test_goals_are_held_against_this_server() -> None:
    met = {goal.what: goal.met for goal in targets(_results())}
    assert met == {
        "last answer to 16 clients of a model that sleeps 1 s": True,
        "last answer to 16 clients of a model that awaits 1 s": True,
        "from yielding a first chunk to its being read, p50, 1 at a time": True,
        "failures of 200 streams at a time": False,
        "the gateway's memory meanwhile, times that before": True,
        "requests/s of the classifier at 1 connection, times that before": False,
        "p50 of the classifier at 1 connection, times that before": True,
        "requests and streams of this server that failed": True,
    }


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_reported_and_drawn(part: str) -> None:
    results = _results()
    text = waiting_report.body({key: results[key] for key in ("plan", "servers", part)})
    assert text.count("\n## ") == 1
    ET.fromstring(waiting_report.chart({part: results[part]}))  # noqa: S314


def test_what_is_reported() -> None:
    text = waiting_report.body(_results())
    assert "before is 1234567, now is 89abcde" in text
    assert "| this server | 16 | 1.12 | 14.5 | 0 |" in text
    assert "This server's slots for predictions: 32 (it was blocked)." in text
    assert "`mlflow models serve` answers 500 to each request." in text
    assert "| 200 | 9 | 2 | 1.50 / 6.00 | 1.50 / 6.00 | 1.50 / 6.00 |" in text
    assert "| 60 MiB | 75 MiB | 62 MiB |" in text
    assert "to the same request it answers 400, application/json" in text
    assert "| now | 1 | 20 | 20.00 | 20.00 | 300 | 0 |" in text
    assert "| 1 | 0.950 | 1.010 | 1.010 | 1.010 |" in text


@pytest.mark.faults
@pytest.mark.untimed
@pytest.mark.timeout(400)
def test_waiting_is_measured_and_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--output", str(tmp_path), "waiting", *_SMALL]
    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=390
    )
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "waiting.json").read_text())
    assert {"awaiting", "calling", "streams", "classifier"} <= set(results)
    assert (tmp_path / "waiting.svg").read_text().startswith("<svg ")
