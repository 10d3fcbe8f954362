"""Answering a batch: merge what may be merged, predict, cut the answer up again."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from .. import logs
from ..blocking import Judge, Measurement
from ..cancellation import Outlet, is_cancelled
from ..frames import Answer, Outcome
from ..protocol import (
    EncodingError,
    InvalidInput,
    MergeKey,
    ModelError,
    Protocol,
    Request,
    error_body,
)
from .merge_keys import MergeKeys
from .sizes import BatchSizes
from .together import Answered, predict_together
from .trials import Trials

# Merging requests of a key is given up for good after this many merged predictions that failed
# although each request alone was answered; and of any after so many keys.
_TROUBLE_LIMIT = 3


@dataclass(frozen=True, slots=True)
class _Member:
    """One request of a batch, and its place in it."""

    index: int
    request_id: str
    request: Request


class _Group(NamedTuple):
    """Requests of a batch that go together.

    Attributes:
        base: The merge key that they are merged, or tried, as; None where each is alone for good.
        merges: Whether they share a prediction.
        members: The requests.
    """

    base: MergeKey | None
    merges: bool
    members: list[_Member]


class Predictor:
    """Answers batches with one loaded model.

    Args:
        protocol: Reads, predicts and writes.
        keys: Which requests may share a prediction.
        sizes: How many of them do so best.
        judge: Sees the predictions until it is known whether the model waits; None where that does
            not matter.
    """

    def __init__(
        self, protocol: Protocol, keys: MergeKeys, sizes: BatchSizes, judge: Judge | None = None
    ) -> None:
        self._judge = judge
        self._protocol = protocol
        self._keys = keys
        self._sizes = sizes
        self._trials = Trials(protocol, keys, sizes)
        self._trouble: Counter[MergeKey] = Counter()
        self._dropped = 0

    @property
    def merges(self) -> bool:
        """Whether requests may share a prediction."""
        return self._keys.any_merges

    @property
    def tries(self) -> bool:
        """Whether it is being seen if they may."""
        return self._most_on_trial() > 0

    @property
    def formats(self) -> frozenset[str]:
        """The request formats of those that may."""
        return self._keys.formats

    def judge(self) -> bool:
        """Return whether the model has just been found to wait most of the time; no requests share
        a prediction from then on."""
        if self._judge is None or (verdict := self._judge.verdict) is None:
            return False
        self._judge = None
        if verdict:
            self._keys.bar_all()
        return verdict

    def answer(
        self, parts: Sequence[memoryview], outlet: Outlet | None = None
    ) -> Iterator[list[Answer]]:
        """Answer the requests of a batch, some at a time, as soon as each is done.

        Args:
            parts: Content type, request id and body of each.
            outlet: Where the chunks go if the only request asks for a stream; None where it is
                to get its answer whole.
        """
        members, refused = self._parse(parts)
        if refused:
            yield refused
        if outlet is not None and members and members[0].request.stream:
            yield [self._answer_alone(members[0], partial(self._stream, outlet))]
            return
        for group in self._groups(members):
            yield from self._answer_group(group)

    def _parse(self, parts: Sequence[memoryview]) -> tuple[list[_Member], list[Answer]]:
        members: list[_Member] = []
        refused: list[Answer] = []
        for index, start in enumerate(range(0, len(parts), 3)):
            content_type, request_id, body = parts[start : start + 3]
            name = str(request_id, "latin-1")
            try:
                request = self._protocol.parse(str(content_type, "latin-1"), body)
            except InvalidInput as error:
                refused.append(_refusal(index, error))
            except Exception as error:
                refused.append(_internal_error(index, name, error))
            else:
                members.append(_Member(index, name, request))
        return members, refused

    def _groups(self, members: list[_Member]) -> list["_Group"]:
        """Put together what may be predicted together, or be tried so, in the order in which the
        first of each came.

        Requests of several rows are batches already, and stay alone: a model that drops rows of
        one and doubles rows of the other would give the right number of rows to the wrong ones.
        """
        by_key: dict[object, list[_Member]] = {}
        for member in members:
            request = member.request
            alone = request.merge_key is None or request.rows != 1
            by_key.setdefault(object() if alone else request.merge_key, []).append(member)
        groups: dict[object, _Group] = {}
        for key, some in by_key.items():
            if isinstance(key, MergeKey):
                standing = self._keys.standing(key)
                base, merges = standing.base or key, standing.merges
                group = groups.setdefault((base, merges), _Group(base, merges, []))
                group.members.extend(some)
            else:
                groups[key] = _Group(None, False, some)
        return [*groups.values()]

    def _answer_group(self, group: "_Group") -> Iterator[list[Answer]]:
        base, merges, members = group
        if base is None:
            for member in members:
                yield [self._predict_alone(member)]
        elif merges:
            yield from self._predict_together(base, members)
        else:
            yield from self._answer_on_trial(members)

    def _predict_together(self, base: MergeKey, members: list[_Member]) -> Iterator[list[Answer]]:
        while members:
            share = self._sizes.share(len(members)) if self._keys.merges(base) else 1
            yield self._predict_group(base, members[:share])
            members = members[share:]

    def _answer_on_trial(self, members: list[_Member]) -> Iterator[list[Answer]]:
        """Answer requests that may not be merged yet, and try some of them; merge the others once
        that has shown that they may."""
        changes = self._keys.changes
        learning = True
        while members:
            most = self._most_on_trial() if learning else 0
            tried, members = members[: max(most, 1)], members[max(most, 1) :]
            if most and self._is_on_trial(tried[0]):
                learning = yield from self._try(tried)
            else:
                for member in tried:
                    yield [self._predict_alone(member)]
            if self._keys.changes != changes:
                for other in self._groups(members):
                    yield from self._answer_group(other)
                return

    def _most_on_trial(self) -> int:
        # Whether the model waits, in which case nobody shares anything, is told by requests alone.
        return self._trials.most() if self._judge is None else 0

    def _is_on_trial(self, member: _Member) -> bool:
        key = member.request.merge_key
        return key is not None and self._keys.on_trial(key)

    def _try(self, group: list[_Member]) -> Generator[list[Answer], None, bool]:
        """Answer requests on trial, then see whether together they would have got the same.

        Each has its answer before that, and waits for nothing.

        Returns:
            Whether there was anything to be learnt.
        """
        answered = []
        for member in group:
            answer = self._predict_alone(member)
            yield [answer]
            if answer.outcome is Outcome.OK and self._is_on_trial(member):
                answered.append(Answered(member.request, answer.body))
        return bool(answered) and self._trials.hold(answered)

    def _predict_group(self, base: MergeKey, group: list[_Member]) -> list[Answer]:
        if len(group) == 1:
            return [self._predict_alone(group[0])]
        requests = [member.request for member in group]
        try:
            started = time.perf_counter()
            kind, bodies = predict_together(self._protocol, requests)
            self._sizes.note(len(group), time.perf_counter() - started)
            if self._keys.fits(base, kind):
                return [
                    Answer(member.index, 200, Outcome.OK, body)
                    for member, body in zip(group, bodies, strict=True)
                ]
            problem = "together, the rows got an answer of another kind than before"
        except BaseException as error:
            problem = f"{type(error).__name__}: {error}"
        # One row must not spoil its neighbours' answers.
        answers = [self._predict_alone(member) for member in group]
        if all(answer.outcome is Outcome.OK for answer in answers):
            self._note_trouble(base, problem)
        return answers

    def _predict_alone(self, member: _Member) -> Answer:
        return self._answer_alone(member, self._predict)

    def _predict(self, request: Request) -> bytes:
        started = time.perf_counter()
        with self._judge.measuring() if self._judge is not None else nullcontext():
            predictions = self._protocol.predict(request)
        body = self._protocol.encode(request, predictions)
        if request.rows == 1 and request.merge_key is not None:
            self._sizes.note(1, time.perf_counter() - started)
        return body

    def _stream(self, outlet: Outlet, request: Request) -> bytes:
        judge, measured = self._judge, Measurement()
        with closing(self._protocol.stream(request)) as chunks:
            while True:
                # What it waits for its client, it is not the model that waits.
                with measured if judge is not None else nullcontext():
                    chunk = next(chunks, None)
                if chunk is None or not outlet.send(chunk):
                    break
        if judge is not None:
            judge.note(measured)
        outlet.begin()
        return b""

    def _answer_alone(self, member: _Member, make: Callable[[Request], bytes]) -> Answer:
        with logs.request_id(member.request_id):
            try:
                body = make(member.request)
            except InvalidInput as error:
                return _refusal(member.index, error)
            except ModelError as error:
                if is_cancelled():
                    # What it raises then, nobody is to read.
                    return Answer(member.index, error.status, Outcome.MODEL_ERROR, b"")
                logs.log.error("prediction_failed", exc_info=error.__cause__ or error)
                body = error_body(error.code, error.message)
                return Answer(member.index, error.status, Outcome.MODEL_ERROR, body)
            except EncodingError as error:
                logs.log.error("prediction_failed", exc_info=error)
                body = error_body("INTERNAL_ERROR", str(error))
                return Answer(member.index, 500, Outcome.INTERNAL_ERROR, body)
            except BaseException as error:
                return _internal_error(member.index, member.request_id, error)
        return Answer(member.index, 200, Outcome.OK, body)

    def _note_trouble(self, base: MergeKey, problem: str) -> None:
        self._trouble[base] += 1
        if self._trouble[base] < _TROUBLE_LIMIT:
            return
        self._keys.drop(base)
        self._dropped += 1
        if self._dropped == 1:
            logs.log.warning("merging_turned_off", extra={"fields": {"error": problem}})
        if self._dropped >= _TROUBLE_LIMIT:
            self._keys.bar_all()


def _refusal(index: int, error: InvalidInput) -> Answer:
    body = error_body(error.code, error.message)
    return Answer(index, error.status, Outcome.INVALID_INPUT, body)


def _internal_error(index: int, request_id: str, error: BaseException) -> Answer:
    with logs.request_id(request_id):
        logs.log.error("prediction_failed", exc_info=error)
    body = error_body("INTERNAL_ERROR", "the answer could not be made; the server's log says why")
    return Answer(index, 500, Outcome.INTERNAL_ERROR, body)
