"""Requests per second of this server and of its peers, in turns."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import get
from benchmarks.direct import predict_directly
from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe_machine
from benchmarks.memory import pss_bytes
from benchmarks.models import TEXT_MODEL, Registry, some_texts
from benchmarks.paths import BENCH
from benchmarks.processes import free_port
from benchmarks.servers import (
    BENTOML,
    EMPTY,
    MLFLOW,
    MLSERVER,
    Competitor,
    Running,
    Site,
    this_server,
)
from benchmarks.summaries import Spread
from benchmarks.targets import Target
from benchmarks.wrk import WrkResult, require_wrk, run_wrk

COMPETITORS = {c.key: c for c in (this_server(), MLFLOW, MLSERVER, BENTOML, EMPTY)}

_TEXTS = 64
_SETTLING_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        servers: Keys of COMPETITORS, in the order of their turns.
        connections: Of wrk, ascending.
        rounds: How often everything is measured.
        seconds: Length of each measurement.
        warm_up_seconds: Load on each server before the first measurement of a round.
    """

    servers: Sequence[str] = tuple(COMPETITORS)
    connections: Sequence[int] = (1, 16, 64, 256)
    rounds: int = 3
    seconds: int = 5
    warm_up_seconds: int = 3


QUICK = Plan(("this", "mlflow", "empty"), rounds=2, seconds=2, warm_up_seconds=1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one server."""

    server: str
    connections: int
    round: int
    load: WrkResult


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server occupied, over all its processes, before and after the load of a round."""

    server: str
    processes: int
    at_rest_bytes: int
    after_bytes: int


class Throughput:
    """One run of the benchmark.

    Args:
        plan: How much is measured.
        directory: For the registry and the servers' files.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        self._competitors = [COMPETITORS[key] for key in plan.servers]
        self._programs = {c.key: c.prepare() for c in self._competitors}
        self._samples: list[Sample] = []
        self._memory: list[Memory] = []
        self._direct_ms: list[float] = []
        self._batching: Any = None

        _say("Training the model ...")
        self._registry = Registry(directory)
        self._registry.add_text_models(1)
        self._registry.promote(TEXT_MODEL, 1)
        self._model_path = self._registry.download(TEXT_MODEL, 1, directory / "model")
        self._texts = some_texts(_TEXTS)
        self._texts_path = directory / "texts.json"
        self._texts_path.write_text(json.dumps(self._texts))

    def run(self) -> dict[str, Any]:
        """Measure, and return what goes into the results."""
        for number in range(1, self._plan.rounds + 1):
            self._round(number)
        return {
            "plan": asdict(self._plan),
            "servers": [self._summary(competitor) for competitor in self._competitors],
            "batching": self._batching,
            "model_predict_p50_ms": Spread.of(self._direct_ms).to_json(),
            "targets": [target.to_json() for target in self._targets()],
            "samples": [asdict(sample) for sample in self._samples],
        }

    def _round(self, number: int) -> None:
        """Start all servers afresh, as some adapt to the load that they had and recover slowly,
        and measure them in turn, so that what else the machine does meets all alike."""
        direct = predict_directly(self._model_path, self._texts_path, self._plan.seconds)
        self._direct_ms.append(direct["p50_ms"])
        _say(f"Round {number}: model.predict by itself takes {direct['p50_ms']:.2f} ms")
        with ExitStack() as stack:
            servers = [
                stack.enter_context(self._start(competitor, number))
                for competitor in self._competitors
            ]
            for server in servers:
                server.wait_until_ready()
                if server.competitor.predicts:
                    self._check_answers(server, direct["labels"])
            time.sleep(_SETTLING_SECONDS)
            at_rest = [pss_bytes(server.process.pids()) for server in servers]
            for server in servers:
                run_wrk(server.url, self._bodies(server), 1, self._plan.warm_up_seconds)
            for connections in self._plan.connections:
                for server in servers:
                    self._measure(server, connections, number)
            for server, rest in zip(servers, at_rest, strict=True):
                pids = server.process.pids()
                key = server.competitor.key
                self._memory.append(Memory(key, len(pids), rest, pss_bytes(pids)))
                if key == "this":
                    # Its numbers mean little without.
                    self._batching = json.loads(get(server.port, "/info") or b"{}").get("batching")

    def _start(self, competitor: Competitor, number: int) -> Running:
        home = self._directory / f"{competitor.key}-{number}"
        home.mkdir()
        site = Site(
            port=free_port(),
            directory=home,
            programs=self._programs[competitor.key],
            tracking_uri=self._registry.uri,
            model_uri=f"models:/{TEXT_MODEL}/Production",
            model_path=self._model_path,
        )
        return Running(competitor, site)

    def _check_answers(self, server: Running, labels: Sequence[str]) -> None:
        for text, label in zip(self._texts, labels, strict=True):
            answer = server.predict(text)
            if answer != label:
                raise BenchmarkError(
                    f"{server.competitor.title} answers {answer!r} to {text!r}, "
                    f"the model by itself {label!r}"
                )

    def _bodies(self, server: Running) -> Path:
        """A file with the request for each text, as the server wants it."""
        competitor = server.competitor
        path = self._directory / f"{competitor.key}.jsonl"
        path.write_text("".join(f"{json.dumps(competitor.body(t))}\n" for t in self._texts))
        return path

    def _measure(self, server: Running, connections: int, number: int) -> None:
        load = run_wrk(server.url, self._bodies(server), connections, self._plan.seconds)
        self._samples.append(Sample(server.competitor.key, connections, number, load))
        _say(
            f"Round {number}, {connections:3} connections, {server.competitor.title}: "
            f"{load.requests_per_second:,.0f} requests/s, p50 {load.p50_ms:.2f} ms, "
            f"{load.failures} failures"
        )

    def _summary(self, competitor: Competitor) -> dict[str, Any]:
        memory = [m for m in self._memory if m.server == competitor.key]
        return {
            "key": competitor.key,
            "title": competitor.title,
            "version": competitor.version(self._programs[competitor.key]),
            "processes": memory[-1].processes,
            "at_rest_bytes": Spread.of(m.at_rest_bytes for m in memory).to_json(),
            "after_bytes": Spread.of(m.after_bytes for m in memory).to_json(),
            "cells": [self._cell(competitor.key, count) for count in self._plan.connections],
        }

    def _cell(self, key: str, connections: int) -> dict[str, Any]:
        loads = self._loads(key, connections)
        return {
            "connections": connections,
            "requests_per_second": Spread.of(x.requests_per_second for x in loads).to_json(),
            "p50_ms": Spread.of(x.p50_ms for x in loads).to_json(),
            "p99_ms": Spread.of(x.p99_ms for x in loads).to_json(),
            "failures": sum(x.failures for x in loads),
        }

    def _loads(self, key: str, connections: int) -> list[WrkResult]:
        """What was measured of a server, round by round."""
        return [s.load for s in self._samples if s.server == key and s.connections == connections]

    def _targets(self) -> Iterator[Target]:
        """What can be said with the servers and connections that were measured."""
        plan = self._plan
        if "this" not in plan.servers:
            return
        for connections, least in ((64, 0.5), (256, 0.8)):
            if "empty" in plan.servers and connections in plan.connections:
                what = f"requests/s at {connections} connections, times the empty handler's"
                yield Target(what, least, self._times("empty", connections), at_least=True)
        peers = [key for key in plan.servers if key not in ("this", "empty")]
        if peers and 64 in plan.connections:
            times = min((self._times(peer, 64) for peer in peers), key=lambda s: s.median)
            yield Target("requests/s at 64 connections, times the best peer's", 5, times, True)
        if 1 in plan.connections:
            loads = zip(self._loads("this", 1), self._direct_ms, strict=True)
            more = Spread.of(load.p50_ms - direct for load, direct in loads)
            what = "p50 at 1 connection, above that of `model.predict` in a loop"
            yield Target(what, 0.6, more, at_least=False, unit=" ms")
        if "mlflow" in plan.servers:
            own, other = (
                [m.at_rest_bytes for m in self._memory if m.server == key]
                for key in ("this", "mlflow")
            )
            times = Spread.of(a / b for a, b in zip(own, other, strict=True))
            what = "memory at rest, times that of `mlflow models serve`"
            yield Target(what, 1.5, times, at_least=False)

    def _times(self, other: str, connections: int) -> Spread:
        """This server's rate over another's in each round."""
        rates = zip(self._loads("this", connections), self._loads(other, connections), strict=True)
        return Spread.of(a.requests_per_second / b.requests_per_second for a, b in rates)


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: something is missing, a server failed or answered what the model doesn't.
    """
    require_wrk()
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="throughput-", dir=BENCH) as directory:
        return {"machine": describe_machine(), **Throughput(plan, Path(directory)).run()}


def _say(text: str) -> None:
    print(text, flush=True)
