"""What clients notice while this server swaps versions under a constant load."""

import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.client import post
from benchmarks.errors import BenchmarkError
from benchmarks.eventlog import EventLog
from benchmarks.machine import describe_machine
from benchmarks.memory import PeakMemory, pss_bytes
from benchmarks.models import TEXT_MODEL, Registry, some_texts
from benchmarks.openloop import OpenLoop
from benchmarks.openloop import Running as RunningLoad
from benchmarks.paths import BENCH
from benchmarks.processes import free_port
from benchmarks.samples import Samples, split_by_windows
from benchmarks.servers import Running, Site, this_server
from benchmarks.summaries import Spread, latencies
from benchmarks.targets import Target

Trigger = Literal["reload", "watcher"]

VERSIONS = 2

_TEXTS = 64
_WARM_UP_SECONDS = 3.0
_SWAP_SECONDS = 60.0
_LONGEST_SECONDS = 1200.0
_AFTERMATH_SECONDS = 0.5
"""How long after the old version's end a window stays open."""

_LATE_SECONDS = 0.1
_POLL_INTERVAL_SECONDS = 1.0
_BUCKET_SECONDS = 0.25

_LOWEST_RATE = 200.0
_HIGHEST_RATE = 50_000.0
_RATE_STEP = 1.6
_REFINEMENTS = 2
_PROBE_SECONDS = 3.0
_SUSTAINED_P99_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        swaps: By each trigger.
        every_seconds: From one promotion to the next.
        rate: Requests per second; None to find out what is sustained, and take half of it.
        triggers: `reload` (POST /reload right after the promotion) and `watcher`.
    """

    swaps: int = 12
    every_seconds: float = 5.0
    rate: float | None = None
    triggers: Sequence[Trigger] = ("reload", "watcher")


QUICK = Plan(swaps=4, every_seconds=4.0, triggers=("reload",))


@dataclass(frozen=True, slots=True)
class Swap:
    """One swap; times are of the monotonic clock.

    Attributes:
        version: The new one.
        started: When the promotion was asked for; the window opens.
        promoted: When the registry had it.
        noticed: When the server set out to swap: /reload was sent, or the watcher logged it.
        retired: When the old release was gone.
    """

    version: int
    started: float
    promoted: float
    noticed: float
    retired: float

    @property
    def window(self) -> tuple[float, float]:
        """From the promotion until shortly after the old release's end."""
        return self.started, self.retired + _AFTERMATH_SECONDS


class SwapBenchmark:
    """One run of the benchmark.

    Args:
        plan: How much is measured.
        directory: For the registry and the server's files.
    """

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._directory = directory
        _say("Training the model ...")
        self._registry = Registry(directory)
        self._registry.add_text_models(VERSIONS)
        self._model_path = self._registry.download(TEXT_MODEL, 1, directory / "model")
        self._bodies = directory / "bodies.jsonl"
        self._bodies.write_text(
            "".join(f"{json.dumps({'instances': [text]})}\n" for text in some_texts(_TEXTS))
        )
        self._production = 0
        self._rate = plan.rate or 0.0
        self._sustained: float | None = None

    def run(self) -> dict[str, Any]:
        """Measure, and return what goes into the results."""
        self._promote(1)
        phases = {trigger: self._phase(trigger) for trigger in self._plan.triggers}
        return {
            "plan": asdict(self._plan),
            "sustained_rate": self._sustained,
            "rate": self._rate,
            "phases": phases,
            "targets": [target.to_json() for target in _targets(phases)],
        }

    def _phase(self, trigger: Trigger) -> dict[str, Any]:
        interval = _POLL_INTERVAL_SECONDS if trigger == "watcher" else 0
        competitor = this_server(POLL_INTERVAL_SECONDS=f"{interval:g}")
        home = self._directory / trigger
        home.mkdir()
        site = Site(
            port=free_port(),
            directory=home,
            programs=Path(),
            tracking_uri=self._registry.uri,
            model_uri=f"models:/{TEXT_MODEL}/Production",
            model_path=self._model_path,
        )
        with ExitStack() as stack:
            server = stack.enter_context(Running(competitor, site))
            server.wait_until_ready()
            log = EventLog(server.process.log)
            stack.callback(log.close)
            self._probe(server, min(1000.0, self._rate or math.inf))
            if not self._rate:
                self._sustained = self._find_sustained_rate(server)
                self._rate = self._sustained / 2
            _say(f"{self._rate:,.0f} requests/s, swaps by {trigger} ...")
            return self._measure(server, log, trigger)

    def _find_sustained_rate(self, server: Running) -> float:
        """Roughly the highest rate at which no request fails and p99 stays below 100 ms."""
        rate = _LOWEST_RATE
        while rate < _HIGHEST_RATE and self._sustains(server, rate * _RATE_STEP):
            rate *= _RATE_STEP
        step = _RATE_STEP
        for _ in range(_REFINEMENTS):
            step = math.sqrt(step)
            if self._sustains(server, rate * step):
                rate *= step
        return rate

    def _sustains(self, server: Running, rate: float) -> bool:
        # What else the machine does may spoil one attempt.
        return any(self._attempt(server, rate) for _ in range(2))

    def _attempt(self, server: Running, rate: float) -> bool:
        samples = self._probe(server, rate)
        p99 = latencies(samples.latency)["p99_ms"]
        failures = sum(status != 200 for status in samples.status)
        _say(f"{rate:,.0f} requests/s: p99 {p99:.1f} ms, {failures} failures")
        return not failures and p99 <= 1000 * _SUSTAINED_P99_SECONDS

    def _probe(self, server: Running, rate: float) -> Samples:
        with self._load(server, rate, _PROBE_SECONDS) as load:
            return load.samples()

    def _load(self, server: Running, rate: float, seconds: float) -> RunningLoad:
        output = self._directory / "samples.json"
        return RunningLoad(OpenLoop(server.port, rate, seconds, str(self._bodies), str(output)))

    def _measure(self, server: Running, log: EventLog, trigger: Trigger) -> dict[str, Any]:
        plan = self._plan
        at_rest = pss_bytes(server.process.pids())
        swaps: list[Swap] = []
        with self._load(server, self._rate, _LONGEST_SECONDS) as load:
            time.sleep(_WARM_UP_SECONDS)
            began = time.monotonic()
            for number in range(plan.swaps):
                swaps.append(self._swap(server, log, trigger))
                # After a slow swap, too, some steady state must follow.
                due = began + (number + 1) * plan.every_seconds
                steady = time.monotonic() + plan.every_seconds / 2
                time.sleep(max(due, steady) - time.monotonic())
            load.stop()
            samples = load.samples()
        memory = {"at_rest": at_rest, **self._measure_memory(server, log, trigger)}
        return _summary(samples, swaps, began, memory)

    def _measure_memory(self, server: Running, log: EventLog, trigger: Trigger) -> dict[str, int]:
        """Memory around a swap of its own: reading it holds processes up, which must not count."""
        with self._load(server, self._rate, _LONGEST_SECONDS):
            time.sleep(_WARM_UP_SECONDS)
            before = pss_bytes(server.process.pids())
            with PeakMemory(server.process.pids) as during:
                self._swap(server, log, trigger)
            time.sleep(_AFTERMATH_SECONDS)
            after = pss_bytes(server.process.pids())
        return {"before": before, "during": during.peak_bytes, "after": after}

    def _swap(self, server: Running, log: EventLog, trigger: Trigger) -> Swap:
        started = time.monotonic()
        self._promote(self._production % VERSIONS + 1)
        promoted = time.monotonic()
        if trigger == "reload":
            answer = post(server.port, "/reload", None)
            if not answer["version_changed"]:
                raise BenchmarkError(f"/reload didn't change the version: {answer}")
            noticed = promoted
        else:
            noticed = log.wait_for("version_moved", started, _SWAP_SECONDS)
        retired = log.wait_for("release_retired", promoted, _SWAP_SECONDS)
        return Swap(self._production, started, promoted, noticed, retired)

    def _promote(self, version: int) -> None:
        self._registry.promote(TEXT_MODEL, version)
        self._production = version


def run(plan: Plan) -> dict[str, Any]:
    """Measure, and return what goes into the results.

    Raises:
        BenchmarkError: the server failed, or a swap did.
    """
    BENCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="swap-", dir=BENCH) as directory:
        return {"machine": describe_machine(), **SwapBenchmark(plan, Path(directory)).run()}


def _summary(
    samples: Samples, swaps: Sequence[Swap], began: float, memory: dict[str, int]
) -> dict[str, Any]:
    steady, swapping = split_by_windows(samples, [swap.window for swap in swaps], began)
    serving = [_first_answer(samples, swap) for swap in swaps]
    return {
        "steady": _group(samples, steady),
        "swapping": _group(samples, swapping),
        "swaps": len(swaps),
        "promoted_to_serving_seconds": Spread.of(
            first - swap.promoted for first, swap in zip(serving, swaps, strict=True)
        ).to_json(),
        "noticed_to_serving_seconds": Spread.of(
            first - swap.noticed for first, swap in zip(serving, swaps, strict=True)
        ).to_json(),
        "window_seconds": Spread.of(s.window[1] - s.window[0] for s in swaps).to_json(),
        "memory_bytes": memory,
        "client_late": latencies(samples.late[i] for i in steady + swapping),
        "windows": [[start - began, end - began] for start, end in (s.window for s in swaps)],
        "timeline": _timeline(samples, began),
    }


def _group(samples: Samples, indices: Sequence[int]) -> dict[str, Any]:
    seconds = [samples.latency[i] for i in indices]
    return {
        **latencies(seconds),
        "failures": sum(samples.status[i] != 200 for i in indices),
        "late": sum(value > _LATE_SECONDS for value in seconds),
    }


def _first_answer(samples: Samples, swap: Swap) -> float:
    """When the first answer of the new version came."""
    return min(
        done
        for due, latency, version in zip(samples.due, samples.latency, samples.version, strict=True)
        if version == swap.version and (done := due + latency) > swap.started
    )


def _timeline(samples: Samples, began: float) -> list[dict[str, float]]:
    """Latencies over time, for the chart: by when the requests were due."""
    buckets: dict[int, list[float]] = {}
    for due, latency in zip(samples.due, samples.latency, strict=True):
        if due >= began:
            buckets.setdefault(int((due - began) / _BUCKET_SECONDS), []).append(latency)
    return [
        {"seconds": number * _BUCKET_SECONDS, **latencies(values)}
        for number, values in sorted(buckets.items())
    ]


def _targets(phases: dict[Trigger, dict[str, Any]]) -> Iterator[Target]:
    for trigger, phase in phases.items():
        steady, swapping = phase["steady"], phase["swapping"]
        by = f"by {trigger}"
        times = Spread.of([swapping["p99_ms"] / steady["p99_ms"]])
        yield Target(f"p99 in swap windows, times steady p99, {by}", 1.5, times, at_least=False)
        failures = Spread.of([steady["failures"] + swapping["failures"]])
        yield Target(f"failures, {by}", 0, failures, at_least=False)
        longest = Spread.of([max(steady["max_ms"], swapping["max_ms"])])
        yield Target(f"longest latency, {by}", 100, longest, at_least=False, unit=" ms")
        serving = Spread(**phase["noticed_to_serving_seconds"])
        what = f"promoted to serving, poll interval aside, {by}"
        yield Target(what, 1, serving, at_least=False, unit=" s")


def _say(text: str) -> None:
    print(text, flush=True)
