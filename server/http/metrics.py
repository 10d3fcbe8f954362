"""What `/metrics` tells Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from server.errors import ServingError
from server.http.clients import Clients
from server.serving.deployment import Deployment
from server.worker.frames import Outcome

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics(Collector):
    """Counts in plain integers, on the path of every prediction, and builds the families only when
    they are asked for.

    Args:
        deployment: Whose release, workers and swaps are shown.
        clients: What they hold is shown, and which were hung up on.
    """

    def __init__(self, deployment: Deployment, clients: Clients) -> None:
        self._deployment = deployment
        self._clients = clients
        self._outcomes = [0] * len(Outcome)
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        self._refused: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def observe(self, outcome: Outcome, seconds: float) -> None:
        """Count an answer that a worker gave, and the time from request to answer."""
        self._outcomes[outcome] += 1
        self._buckets[bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def refused(self, error: ServingError) -> None:
        """Count a request that no worker answered."""
        self._refused[type(error).__name__] += 1

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Build the families; prometheus-client calls this."""
        answers = CounterMetricFamily(
            "model_server_answers", "Answers that the model's workers gave.", labels=["outcome"]
        )
        for outcome, count in zip(Outcome, self._outcomes, strict=True):
            answers.add_metric([outcome.name.lower()], count)
        yield answers
        refused = CounterMetricFamily(
            "model_server_refused", "Requests that no worker answered.", labels=["reason"]
        )
        for reason, count in self._refused.items():
            refused.add_metric([reason], count)
        yield refused
        yield self._latency()
        yield from self._client_families()
        yield from self._deployment_families()

    def _client_families(self) -> Iterator[Metric]:
        budget = self._clients.budget
        yield GaugeMetricFamily(
            "model_server_bytes_in_flight",
            "Bytes that bodies and answers above 16 KiB take.",
            value=budget.held,
        )
        yield GaugeMetricFamily(
            "model_server_bytes_in_flight_limit",
            "How many they may take; see MAX_BYTES_IN_FLIGHT.",
            value=budget.limit,
        )
        ended = CounterMetricFamily(
            "model_server_connections_ended",
            "Connections that were closed before their clients did so.",
            labels=["reason"],
        )
        for reason, count in self._clients.ended.items():
            ended.add_metric([reason], count)
        yield ended

    def _latency(self) -> Metric:
        buckets = []
        total = 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(
            "model_server_answer_seconds", "Seconds from a request's arrival to its answer."
        )
        family.add_metric([], buckets, self._seconds)
        return family

    def _deployment_families(self) -> Iterator[Metric]:
        deployment = self._deployment
        swaps = CounterMetricFamily(
            "model_server_reloads",
            "Swaps and reloads, by what asked for them and what came of it.",
            labels=["trigger", "outcome"],
        )
        for (trigger, outcome), count in deployment.reports.counts.items():
            swaps.add_metric([trigger, outcome], count)
        yield swaps
        yield CounterMetricFamily(
            "model_server_worker_losses",
            "Workers that ended without being told to.",
            value=deployment.workers_lost,
        )
        release = deployment.release
        yield GaugeMetricFamily(
            "model_server_queue", "Requests that wait.", value=release.waiting if release else 0
        )
        yield GaugeMetricFamily(
            "model_server_workers",
            "Workers of the serving version that can answer.",
            value=release.workers_alive if release else 0,
        )
        if release is not None:
            yield InfoMetricFamily(
                "model_server_model", "The version that serves.", {"version": release.model.label}
            )
