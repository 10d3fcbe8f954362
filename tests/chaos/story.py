"""Whether what the clients saw, what the log says and what the registry was told fit together."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.schedule import GOOD, Promotion
from tests.support.load import Sample
from tests.support.server import Event

# How long after it was written a line of the log may be read, in seconds.
SLACK = 0.5

_DOCUMENTED = (500, 503, 504)


@dataclass(frozen=True, slots=True)
class Story:
    """One run.

    Attributes:
        samples: Every request, with its answer.
        events: The log.
        promotions: What was put into Production, and when.
        kills: How many workers were killed.
        final: The version in Production at the end.
    """

    samples: list[Sample]
    events: list[Event]
    promotions: list[Promotion]
    kills: int
    final: str

    def problems(self) -> list[str]:
        """Everything that does not fit, in words; empty if all is well."""
        return [
            *self._failures(),
            *self._wrong_answers(),
            *self._versions_out_of_turn(),
            *self._swaps_without_reason(),
            *self._moves_without_swap(),
            *self._unexpected_events(),
        ]

    def summary(self) -> str:
        """What happened, in a few lines."""
        events = Counter(event["event"] for event in self.events)
        latencies = sorted(s.done - s.sent for s in self.samples)
        p99, longest = latencies[int(len(latencies) * 0.99)], latencies[-1]
        failed = sum(s.status != 200 for s in self.samples)
        names = [
            *("version_moved", "model_swapped", "reload_failed", "worker_exited"),
            *("worker_replaced", "registry_unreachable", "registry_recovered"),
        ]
        return "\n".join(
            [
                f"{len(self.samples)} requests, {failed} failed",
                f"latency: p99 {p99 * 1000:.0f} ms, longest {longest * 1000:.0f} ms",
                f"{len(self.promotions)} promotions, {self.kills} workers killed",
                ", ".join(f"{events[name]} {name}" for name in names),
            ]
        )

    @property
    def _swaps(self) -> list[Event]:
        return [event for event in self.events if event["event"] == "model_swapped"]

    def _failures(self) -> Iterator[str]:
        for status, count in Counter(s.status for s in self.samples).items():
            if status == 200 or (self.kills and status in _DOCUMENTED):
                continue
            example = next(s.body for s in self.samples if s.status == status)
            yield f"{count} requests failed with {status}, with {self.kills} kills: {example!r}"

    def _wrong_answers(self) -> Iterator[str]:
        for sample in self.samples:
            if sample.status == 200:
                expected = {"predictions": [GOOD.get(sample.version or "")]}
                if json.loads(sample.body) != expected:
                    yield f"version {sample.version} answered {sample.body!r}"

    def _versions_out_of_turn(self) -> Iterator[str]:
        """Each answer comes from a version that served while its request was under way."""
        swaps = self._swaps
        turns: dict[str, list[tuple[float, float]]] = {}
        for swap, following in pairwise([*swaps, None]):
            assert swap is not None
            end = following.read_at if following else float("inf")
            turns.setdefault(swap["new_version"], []).append((swap.read_at, end))
        for sample in self.samples:
            served = turns.get(f"v{sample.version}", [])
            if sample.status == 200 and not any(
                sample.done >= begin - SLACK and sample.sent <= end + SLACK for begin, end in served
            ):
                yield f"version {sample.version} answered a request at {sample.sent:.2f}"

    def _swaps_without_reason(self) -> Iterator[str]:
        """Each version that was swapped to was in Production since the swap before."""
        before = float("-inf")
        for swap in self._swaps:
            if not self._held(swap["new_version"], before, swap.read_at):
                yield f"swapped to {swap['new_version']}, which the registry did not name"
            before = swap.read_at - SLACK

    def _held(self, display: str, begin: float, end: float) -> bool:
        for promotion, following in pairwise([*self.promotions, None]):
            assert promotion is not None
            left = following.done if following else float("inf")
            if f"v{promotion.version}" == display and promotion.begun <= end and left >= begin:
                return True
        return False

    def _moves_without_swap(self) -> Iterator[str]:
        """What the watcher swapped to was told as a move before, and the log ends as it should."""
        moved: set[str] = set()
        for event in self.events:
            if event["event"] == "version_moved":
                moved.add(event["new_version"])
            elif (
                event["event"] == "model_swapped"
                and event["trigger"] == "watcher"
                and event["version_changed"]
                and event["new_version"] not in moved
            ):
                yield f"no version_moved before the swap to {event['new_version']}"
        if self._swaps[-1]["new_version"] != f"v{self.final}":
            yield f"v{self.final} is in Production, {self._swaps[-1]['new_version']} serves"

    def _unexpected_events(self) -> Iterator[str]:
        good = {f"v{version}" for version in GOOD}
        for event in self.events:
            if event["event"] in ("swap_crashed", "request_crashed", "version_given_up"):
                yield f"the log says {event.fields}"
            # That its artifacts could not be fetched is the only excuse for a good version.
            if (
                event["event"] == "reload_failed"
                and event["failed_version"] in good
                and event["phase"] != "download"
            ):
                yield f"a good version was refused: {event.fields}"
