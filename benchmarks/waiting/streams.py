"""How late chunks of a stream come, and many streams at a time."""

import http.client
import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.client import HOST
from benchmarks.errors import BenchmarkError
from benchmarks.ground import Checkout, Ground, Server, say
from benchmarks.memory import PeakMemory, pss_bytes
from benchmarks.models import NUMBERS
from benchmarks.paths import PACKAGE
from benchmarks.processor import wait_until_quiet
from benchmarks.servers import MLFLOW
from benchmarks.streamload import Stream, StreamLoad, run_streams
from benchmarks.summaries import latencies

AT_A_TIME = (1, 16)
CROWD = 200

_TICKER = PACKAGE / "waiting" / "models" / "ticker.py"
_CHUNKS = 10
_GAP_SECONDS = 0.01
_CROWD_CHUNKS = 20
_CROWD_GAP_SECONDS = 0.05
_PATIENCE_SECONDS = 30.0


def measure(ground: Ground, checkout: Checkout, seconds: float) -> dict[str, Any]:
    """Streams of a model that yields the time: few and then many at a time, each begun when another
    has ended; and what `mlflow models serve` answers to such a request."""
    name = "ticker"
    ground.registry.add_from_code(
        name,
        _TICKER,
        signature=NUMBERS,
        input_example=pd.DataFrame({"chunks": [2], "seconds": [_GAP_SECONDS]}),
    )
    ground.registry.promote(name, 1)
    with ground.serving(checkout, name) as server:
        found = server.concurrency()
        cells = [
            _streams(StreamLoad(server.port, count, seconds, _CHUNKS, _GAP_SECONDS))
            for count in AT_A_TIME
        ]
    with ground.serving(checkout, name, CONCURRENCY=f"{CROWD}") as server:
        crowd = _crowd(server, seconds)
    with ground.running(MLFLOW, name) as peer:
        mlflow = _first_answer(StreamLoad(peer.port, 1, 1.0, 2, _GAP_SECONDS))
    return {"found": found, "cells": cells, "crowd": crowd, "mlflow": mlflow}


def _crowd(server: Server, seconds: float) -> dict[str, Any]:
    process = server.running.process
    wait_until_quiet(process)
    before = pss_bytes([process.pid])
    with PeakMemory(lambda: [process.pid]) as memory:
        load = StreamLoad(server.port, CROWD, seconds, _CROWD_CHUNKS, _CROWD_GAP_SECONDS)
        cell = _streams(load)
    wait_until_quiet(process)
    return {
        **cell,
        "at_least_seconds": (_CROWD_CHUNKS - 1) * _CROWD_GAP_SECONDS,
        "gateway_before_bytes": before,
        "gateway_peak_bytes": memory.peak_bytes,
        "gateway_after_bytes": pss_bytes([process.pid]),
    }


def _streams(load: StreamLoad) -> dict[str, Any]:
    cell = {"connections": load.connections, **summary(run_streams(load))}
    first = cell["first"]["p50_ms"]
    say(
        f"{load.connections} streams at a time: {cell['streams']}, {cell['failures']} failures, "
        f"first chunk {first:.2f} ms late at p50"
    )
    return cell


def summary(streams: Sequence[Stream]) -> dict[str, Any]:
    """How late chunks were, how long streams took, and how many were not whole.

    Raises:
        BenchmarkError: none was whole.
    """
    whole = [stream for stream in streams if stream.whole]
    if not whole:
        said = streams[0].said if streams else "nothing"
        raise BenchmarkError(f"no stream was whole; the server answered: {said}")
    return {
        "streams": len(streams),
        "failures": len(streams) - len(whole),
        "first": latencies(stream.latencies[0] for stream in whole),
        "all": latencies(late for stream in whole for late in stream.latencies),
        "lasted": latencies(stream.seconds for stream in whole),
    }


def _first_answer(load: StreamLoad) -> dict[str, Any]:
    """Status and content type of the answer to a request for a stream."""
    connection = http.client.HTTPConnection(HOST, load.port, timeout=_PATIENCE_SECONDS)
    try:
        head = {"Content-Type": "application/json"}
        connection.request("POST", "/invocations", json.dumps(load.body()), head)
        answer = connection.getresponse()
        return {"status": answer.status, "content_type": answer.headers.get_content_type()}
    finally:
        connection.close()
