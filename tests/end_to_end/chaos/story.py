"""Whether what the clients saw, what the log says and what the registry was told fit together."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.end_to_end.chaos.schedule import GOOD, Promotion
from tests.support.load import Sample
from tests.support.server import Event
from tests.support.streams import events
from tests.support.waiting_models import chunk, told_to_stream

# How long after it was written a line of the log may be read, in seconds.
SLACK = 0.5

_CHUNKS = 10
STREAM = told_to_stream(chunks=_CHUNKS, sleep=0.02)

_DOCUMENTED = (500, 503, 504)
# What a killed worker held is asked again, and another one has to load first.
_SECONDS_AFTER_A_KILL = 10.0
# How soon a version is refused whose process was killed, or that no process could be had for.
_SECONDS_TO_REFUSE = 5.0
_OF_A_LOSS = ("process ended", "no process can be started")


@dataclass(frozen=True, slots=True)
class Story:
    """One run.

    Attributes:
        clients: What each client asked, one after the other, with the answers.
        events: The log.
        promotions: What was put into Production, and when.
        kills: When workers were killed (seconds, monotonic).
        losses: When processes were killed that workers are forked from.
        final: The version in Production at the end.
        streams: What clients were streamed that asked for `STREAM`.
    """

    clients: list[list[Sample]]
    events: list[Event]
    promotions: list[Promotion]
    kills: list[float]
    losses: list[float]
    final: str
    streams: list[Sample] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Everything that does not fit, in words; empty if all is well."""
        return [
            *self._failures(),
            *self._wrong_answers(),
            *self._broken_streams(),
            *self._versions_out_of_turn(),
            *self._steps_back(),
            *self._swaps_without_reason(),
            *self._moves_without_swap(),
            *self._unexpected_events(),
        ]

    def summary(self) -> str:
        """What happened, in a few lines."""
        events = Counter(event["event"] for event in self.events)
        samples = self._samples
        latencies = sorted(s.done - s.sent for s in samples)
        p99, longest = latencies[int(len(latencies) * 0.99)], latencies[-1]
        failed = sum(s.status != 200 for s in samples)
        names = [
            *("version_moved", "model_swapped", "reload_failed", "worker_exited"),
            *("worker_replaced", "registry_unreachable", "registry_recovered"),
        ]
        return "\n".join(
            [
                f"{len(samples)} requests, {failed} failed; {len(self.streams)} streams",
                f"latency: p99 {p99 * 1000:.0f} ms, longest {longest * 1000:.0f} ms",
                f"{len(self.promotions)} promotions, {len(self.kills)} workers killed",
                f"{len(self.losses)} processes killed that workers come from",
                ", ".join(f"{events[name]} {name}" for name in names),
            ]
        )

    def log(self) -> str:
        """The log's lines, each after the second in which it was written, and the kills."""
        lines = [(event.read_at, json.dumps(event.fields)) for event in self.events]
        lines += [(moment, "a worker is killed") for moment in self.kills]
        lines += [(moment, "what workers come from is killed") for moment in self.losses]
        return "".join(f"{self._at(moment)} {line}\n" for moment, line in sorted(lines))

    def _at(self, moment: float) -> str:
        return f"{moment - self.events[0].read_at:.2f} s"

    @property
    def _samples(self) -> list[Sample]:
        return [sample for client in self.clients for sample in client]

    @property
    def _swaps(self) -> list[Event]:
        return [event for event in self.events if event["event"] == "model_swapped"]

    def _failures(self) -> Iterator[str]:
        failed = [sample for sample in self._samples if not self._may_fail(sample)]
        for status, count in Counter(sample.status for sample in failed).items():
            same = [sample for sample in failed if sample.status == status]
            begin, end = (self._at(pick(s.done for s in same)) for pick in (min, max))
            yield (
                f"{count} requests failed with {status}, between {begin} and {end}: "
                f"{same[0].body!r}"
            )

    def _may_fail(self, sample: Sample) -> bool:
        if sample.status == 200:
            return True
        return self._killed(sample) and sample.status in _DOCUMENTED

    def _killed(self, sample: Sample) -> bool:
        """Whether a worker was killed that may have held a request."""
        return any(sample.sent - _SECONDS_AFTER_A_KILL < kill < sample.done for kill in self.kills)

    def _wrong_answers(self) -> Iterator[str]:
        for sample in self._samples:
            if sample.status == 200:
                expected = {"predictions": [GOOD.get(sample.version or "")]}
                if json.loads(sample.body) != expected:
                    yield f"version {sample.version} answered {sample.body!r}"

    def _broken_streams(self) -> Iterator[str]:
        """Each stream is whole and of one version, or is cut with an error as its worker died."""
        for sample in self.streams:
            if sample.status != 200:
                if not self._may_fail(sample):
                    yield f"a stream failed with {sample.status}: {sample.body!r}"
                continue
            whole = [chunk(n, GOOD.get(sample.version or "", "")) for n in range(_CHUNKS)]
            try:
                *made, last = events(sample.body)
            except (AssertionError, ValueError) as error:
                yield f"a stream is not as it should be: {error}"
                continue
            cut = "error" in last and self._killed(sample)
            if [*made, last] != whole and not (cut and made == whole[: len(made)]):
                yield f"version {sample.version} streamed {sample.body!r}"

    def _versions_out_of_turn(self) -> Iterator[str]:
        """Each answer comes from a version that served while its request was under way."""
        swaps = self._swaps
        turns: dict[str, list[tuple[float, float]]] = {}
        for swap, following in pairwise([*swaps, None]):
            assert swap is not None
            end = following.read_at if following else float("inf")
            turns.setdefault(swap["new_version"], []).append((swap.read_at, end))
        for sample in self._samples:
            served = turns.get(f"v{sample.version}", [])
            if sample.status == 200 and not any(
                sample.done >= begin - SLACK and sample.sent <= end + SLACK for begin, end in served
            ):
                yield f"version {sample.version} answered a request at {self._at(sample.sent)}"

    def _steps_back(self) -> Iterator[str]:
        """Each client meets the versions in the order in which they were swapped to."""
        swaps = self._swaps
        for client in self.clients:
            place = 0
            for sample in (sample for sample in client if sample.status == 200):
                ahead = range(place, len(swaps))
                seen = f"v{sample.version}"
                place = next((n for n in ahead if swaps[n]["new_version"] == seen), len(swaps))
                if place == len(swaps) or swaps[place].read_at > sample.done + SLACK:
                    yield f"a client went back to {seen} at {self._at(sample.sent)}"
                    break

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
        """What the watcher swapped from was told as moved away from, and the log ends as it should.

        The move may name another version than the swap: the registry goes on moving.
        """
        moved_from: set[str] = set()
        for event in self.events:
            if event["event"] == "version_moved":
                moved_from.add(event["old_version"])
            elif event["event"] == "model_swapped" and event["version_changed"]:
                if event["trigger"] == "watcher" and event["old_version"] not in moved_from:
                    yield f"no version_moved before the swap to {event['new_version']}"
                moved_from.clear()
        if self._swaps[-1]["new_version"] != f"v{self.final}":
            yield f"v{self.final} is in Production, {self._swaps[-1]['new_version']} serves"

    def _unexpected_events(self) -> Iterator[str]:
        good = {f"v{version}" for version in GOOD}
        for event in self.events:
            if event["event"] in ("swap_crashed", "request_crashed", "version_given_up"):
                yield f"the log says {event.fields}"
            # That its artifacts could not be fetched is an excuse for a good version, and that the
            # process that loaded it was killed.
            if (
                event["event"] == "reload_failed"
                and event["failed_version"] in good
                and event["phase"] != "download"
                and not self._follows_a_loss(event)
            ):
                yield f"a good version was refused: {event.fields}"

    def _follows_a_loss(self, event: Event) -> bool:
        lately = any(
            loss - SLACK <= event.read_at < loss + _SECONDS_TO_REFUSE for loss in self.losses
        )
        return lately and any(reason in event["error"] for reason in _OF_A_LOSS)
