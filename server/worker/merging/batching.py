"""Answering a batch: merge what may be merged, predict, cut the answer up again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial

from .. import logs
from ..blocking import Judge, Measurement
from ..cancellation import Outlet, is_cancelled
from ..frames import Answer, Outcome
from ..protocol import (
    EncodingError,
    InvalidInput,
    ModelError,
    Protocol,
    Request,
    error_body,
)
from .merge_keys import MergeKeys
from .together import Answered, Differs, by_merge_key, compare, predict_together

# Merging is given up for good after this many merged predictions that failed although each
# request alone was answered.
_TROUBLE_LIMIT = 3

# Few, so that a key is proved within one large batch, and the rest of that is merged.
_TRIAL_ROWS = 8


@dataclass(frozen=True, slots=True)
class _Member:
    """One request of a batch, and its place in it."""

    index: int
    request_id: str
    request: Request


class Predictor:
    """Answers batches with one loaded model.

    Args:
        protocol: Reads, predicts and writes.
        keys: Which requests may share a prediction.
        max_rows: Most rows in a merged prediction.
        judge: Sees the predictions until it is known whether the model waits; None where that does
            not matter.
    """

    def __init__(
        self, protocol: Protocol, keys: MergeKeys, max_rows: int, judge: Judge | None = None
    ) -> None:
        self._judge = judge
        self._protocol = protocol
        self._keys = keys
        self._max_rows = max_rows
        self._trouble = 0

    @property
    def merges(self) -> bool:
        """Whether requests may still share a prediction."""
        return self._keys.any_merges

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

    def _groups(self, members: list[_Member]) -> Iterator[list[_Member]]:
        """Yield what may be predicted together, in the order in which the first of each came.

        Requests of several rows are batches already, and stay alone: a model that drops rows of
        one and doubles rows of the other would give the right number of rows to the wrong ones.
        """
        groups: dict[object, list[_Member]] = {}
        for member in members:
            request = member.request
            alone = request.merge_key is None or request.rows != 1
            groups.setdefault(object() if alone else request.merge_key, []).append(member)
        yield from groups.values()

    def _answer_group(self, group: list[_Member]) -> Iterator[list[Answer]]:
        key = group[0].request.merge_key
        while len(group) > 1 and self._keys.on_trial(key):
            yield from self._try(group[:_TRIAL_ROWS])
            group = group[_TRIAL_ROWS:]
        most = self._max_rows if self._keys.merges(key) else 1
        for start in range(0, len(group), most):
            yield self._predict_group(group[start : start + most])

    def _try(self, group: list[_Member]) -> Iterator[list[Answer]]:
        """Answer requests on trial, then see whether together they would have got the same.

        Each has its answer before that, and waits for nothing.
        """
        answered = []
        for member in group:
            answer = self._predict_alone(member)
            yield [answer]
            if answer.outcome is Outcome.OK:
                answered.append(Answered(member.request, answer.body))
        key = group[0].request.merge_key
        # Backwards as well: a model that sorts might get them sorted.
        some = by_merge_key(answered).get(key, [])[: self._max_rows // 2]
        if len(some) < 2:
            return
        try:
            self._keys.agree(key, compare(self._protocol, [*some, *reversed(some)]), len(some))
        except Differs as difference:
            self._keys.bar(key)
            logs.log.debug("merging barred: %s", difference)

    def _predict_group(self, group: list[_Member]) -> list[Answer]:
        if len(group) == 1:
            return [self._predict_alone(group[0])]
        requests = [member.request for member in group]
        try:
            kind, bodies = predict_together(self._protocol, requests)
            if self._keys.fits(requests[0].merge_key, kind):
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
            self._note_trouble(problem)
        return answers

    def _predict_alone(self, member: _Member) -> Answer:
        return self._answer_alone(member, self._predict)

    def _predict(self, request: Request) -> bytes:
        with self._judge.measuring() if self._judge is not None else nullcontext():
            predictions = self._protocol.predict(request)
        return self._protocol.encode(request, predictions)

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

    def _note_trouble(self, problem: str) -> None:
        self._trouble += 1
        if self._trouble == _TROUBLE_LIMIT:
            self._keys.bar_all()
            logs.log.warning("merging_turned_off", extra={"fields": {"error": problem}})


def _refusal(index: int, error: InvalidInput) -> Answer:
    body = error_body(error.code, error.message)
    return Answer(index, error.status, Outcome.INVALID_INPUT, body)


def _internal_error(index: int, request_id: str, error: BaseException) -> Answer:
    with logs.request_id(request_id):
        logs.log.error("prediction_failed", exc_info=error)
    body = error_body("INTERNAL_ERROR", "the answer could not be made; the server's log says why")
    return Answer(index, 500, Outcome.INTERNAL_ERROR, body)
