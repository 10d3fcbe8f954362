"""Replaying real requests in a candidate, and comparing with what was answered before."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import logs
from ..blocking import Judge
from ..merging.together import Answered
from ..protocol import EncodingError, InvalidInput, ModelError, Protocol, Request
from ..spec import RecordedRequest

_DIFFERENCES_LOGGED = 3
_ROWS_COMPARED = 100
# What takes longer would make trying what may be merged, or warming up, take as long as it likes.
_QUICK_SECONDS = 0.25
# Of the answers, at most so many have another number of rows where a model answers rows.
_ODD_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of the replay.

    Attributes:
        answers: The candidate's answers, in the order of the requests; empty where it had none, or
            was not asked.
        asked: How many requests it was asked, the first ones: there was no time for others.
        answered: The requests that it answered.
        quick: Those of them that may be asked again and again.
        quickest: What it answered soonest; None if nothing.
        changed: How many answers differ from what was answered before.
        differences: What is worse about each request that it failed on, in words without anyone's
            data.
    """

    answers: list[bytes]
    asked: int
    answered: list[Answered]
    quick: list[Answered]
    quickest: RecordedRequest | None
    changed: int
    differences: list[str]

    @property
    def failed(self) -> int:
        """How many requests it refused, or answered worse."""
        return len(self.differences)


class _Attempt(NamedTuple):
    """What came of one request.

    Attributes:
        recorded: The request, and what was answered before.
        request: The same as it was read; None if it was not answered.
        answer: The answer, empty if there is none.
        seconds: What it took.
        problem: Why there is none.
    """

    recorded: RecordedRequest
    request: Request | None
    answer: bytes
    seconds: float
    problem: str | None = None


def replay(
    protocol: Protocol,
    requests: Sequence[RecordedRequest],
    seconds: float,
    judge: Judge,
    enough: Callable[[], bool],
) -> Replay:
    """Answer each request by itself and compare.

    Args:
        seconds: After how many no other one is begun with.
        judge: Sees how the model answers.
        enough: Tells whether no other one may be asked.
    """
    deadline = time.monotonic() + seconds
    attempts: list[_Attempt] = []
    for recorded in requests:
        if enough() or (attempts and time.monotonic() >= deadline):
            break
        attempts.append(_attempt(protocol, recorded, judge))
    answered = [a for a in attempts if a.request is not None]
    quickest = min(answered, key=lambda attempt: attempt.seconds, default=None)
    habits = _habits(attempts)
    differences: list[str] = []
    for number, attempt in enumerate(attempts, 1):
        difference = attempt.problem or _difference(attempt, habits)
        if difference is None:
            continue
        differences.append(f"request {number} of {len(attempts)}: {difference}")
        if len(differences) <= _DIFFERENCES_LOGGED and logs.log.isEnabledFor(logging.DEBUG):
            fields = {
                "request": attempt.recorded.body[:2000],
                "old_answer": attempt.recorded.answer[:2000],
                "new_answer": attempt.answer[:2000],
            }
            logs.log.debug("rehearsal_difference", extra={"fields": fields})
    return Replay(
        answers=[a.answer for a in attempts] + [b""] * (len(requests) - len(attempts)),
        asked=len(attempts),
        answered=_pairs(answered),
        quick=_pairs([a for a in answered if a.seconds <= _QUICK_SECONDS]),
        quickest=quickest.recorded if quickest is not None else None,
        changed=sum(bool(a.answer) and a.answer != a.recorded.answer for a in attempts),
        differences=differences,
    )


def _pairs(attempts: Sequence[_Attempt]) -> list[Answered]:
    return [Answered(a.request, a.answer) for a in attempts if a.request is not None]


def _attempt(protocol: Protocol, recorded: RecordedRequest, judge: Judge) -> _Attempt:
    started = time.monotonic()
    try:
        request = protocol.parse(str(recorded.content_type, "latin-1"), recorded.body)
        with judge.measuring():
            predictions = protocol.predict(request)
        answer = protocol.encode(request, predictions)
    except ModelError as error:
        problem = f"the model raises {type(error.__cause__).__name__}"
    except InvalidInput:
        problem = "refused as invalid input"
    except EncodingError as error:
        problem = f"the answer has no form in JSON: {error}"
    else:
        return _Attempt(recorded, request, answer, time.monotonic() - started)
    return _Attempt(recorded, None, b"", time.monotonic() - started, problem)


@dataclass(slots=True)
class _Habits:
    """How many rows the version before had in its lists, in answers to one request format.

    Attributes:
        same: In how many answers as many as in the request.
        other: In how many another number.
        empty: Whether there were none in some answer.
    """

    same: int = 0
    other: int = 0
    empty: bool = False

    @property
    def row_wise(self) -> bool:
        """Whether it answers rows. A few odd requests do not show otherwise; a detector, too, finds
        one thing in one image, but not in nearly all."""
        return self.same > 0 and self.other <= (self.same + self.other) * _ODD_SHARE


def _habits(attempts: Sequence[_Attempt]) -> Mapping[str, _Habits]:
    """Return the habits by request format."""
    habits: dict[str, _Habits] = {}
    for recorded, request, *_ in attempts:
        if request is None:
            continue
        try:
            old = _predictions(recorded.answer)
        except (ValueError, RecursionError):
            continue
        if isinstance(old, list):
            habit = habits.setdefault(request.format, _Habits())
            habit.empty |= not old
            if request.rows is not None:
                same = len(old) == request.rows
                habit.same += same
                habit.other += not same
    return habits


def _difference(attempt: _Attempt, habits: Mapping[str, _Habits]) -> str | None:
    request = attempt.request
    habit = habits.get(request.format, _Habits()) if request is not None else _Habits()
    try:
        old, new = _predictions(attempt.recorded.answer), _predictions(attempt.answer)
        rows = request.rows if request is not None and habit.row_wise else None
        return _worse(old, new, rows, may_be_empty=habit.empty)
    except (ValueError, RecursionError):
        # One of them is well-formed, but too deep or its numbers too long to be read here.
        return None


def _predictions(answer: bytes) -> Any:
    # Not with orjson: it refuses, or reads as something else, some of what `encode` writes.
    value = json.loads(answer)
    if isinstance(value, dict) and list(value) == ["predictions"]:
        return value["predictions"]
    return value


def _worse(old: Any, new: Any, rows: int | None, *, may_be_empty: bool) -> str | None:
    """What is worse about `new`: a value of another kind is a matter of taste, but a missing value
    is not, nor is a missing row where `old` has one for each row of the request.

    Args:
        rows: How many rows the request has, if the version before answers rows.
        may_be_empty: Whether that may answer none at all.
    """
    both = isinstance(old, list) and isinstance(new, list)
    row_wise = both and rows == len(old)
    if both and len(old) != len(new) and (row_wise or not (new or may_be_empty)):
        return f"{len(new)} rows where there were {len(old)}"
    if isinstance(old, list) != isinstance(new, list):
        return f"{_shape(new)} where there was {_shape(old)}"
    lost = sum(_lost_values(old, new))
    if lost and both and not row_wise:
        # The first of the one need not be about the same as the first of the other.
        lost = sum(_lost_from_every(old[:_ROWS_COMPARED], after) for after in new)
    return f"null or NaN in place of {lost} values" if lost else None


def _lost_from_every(rows: list[Any], new: Any) -> int:
    """How many values are missing that each of the rows has."""
    return min((sum(_lost_values(old, new)) for old in rows), default=0)


def _lost_values(old: Any, new: Any) -> Iterator[int]:
    if new is None:
        yield int(old is not None)
    elif isinstance(old, list) and isinstance(new, list):
        for before, after in zip(old, new, strict=False):
            yield from _lost_values(before, after)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            yield from _lost_values(old[key], new[key])


def _shape(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return {dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
