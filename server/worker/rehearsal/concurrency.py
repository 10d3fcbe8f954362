"""How many predictions a model makes at a time, and whether it stands several."""

import json
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..blocking import Judge, measurable
from ..frames import SLOTS_OF_WAITING
from ..merging.closeness import same_body
from ..protocol import Protocol
from ..spec import WorkerSpec
from .questions import Question

_WAITS = "the model waits for something else most of the time"
_UNTRIED = "several requests at a time were not tried"
_ALONE = 2
# What answers to the same request may differ in.
_PASSING = frozenset({"id", "created", "created_at"})
# Requests at once may take as long as one after the other, and somewhat longer.
_PATIENCE = 10
_LEAST_PATIENCE_SECONDS = 5.0


class Concurrency(NamedTuple):
    """What a worker may do at a time.

    Attributes:
        slots: How many predictions.
        reason: Why so many, in words for `/info`.
        waits: Whether the model waits most of the time; None where nobody can tell (yet).
        judge: What may still tell, once real requests come.
    """

    slots: int
    reason: str
    waits: bool | None = None
    judge: Judge | None = None


def find_concurrency(
    protocol: Protocol, questions: Sequence[Question], judge: Judge, spec: WorkerSpec
) -> Concurrency:
    """Return how many predictions the model may make at a time.

    Where that could be several, two requests are asked once more each, and then at once.

    Args:
        questions: What it may be asked for this.
        judge: What has been seen of it.
    """
    waits = _whether_it_waits(judge)
    if (said := _said(spec)) is not None:
        return Concurrency(*said, waits)
    if not measurable():
        return Concurrency(1, "this system does not tell whether a model waits: no schedstat")
    if waits is None and protocol.is_async:
        # All of them are one thread's: nothing that they share can be in between.
        return Concurrency(SLOTS_OF_WAITING, "the model's predict is a coroutine")
    if waits is None:
        return Concurrency(1, "not known yet: the first requests will tell", None, judge)
    if not waits:
        return Concurrency(1, "the model computes most of the time, or takes little", waits)
    try:
        difference = _try_at_once(protocol, questions, spec.rehearsal_seconds)
    except _Untold as untold:
        return Concurrency(SLOTS_OF_WAITING, f"{_WAITS}; {untold}", waits)
    except BaseException as error:
        return Concurrency(
            SLOTS_OF_WAITING, f"{_WAITS}; trying failed: {type(error).__name__}", waits
        )
    if difference is not None:
        return Concurrency(1, f"{_WAITS}, but {difference}", waits)
    return Concurrency(
        SLOTS_OF_WAITING, f"{_WAITS}, and answers requests at once as one by one", waits
    )


def _whether_it_waits(judge: Judge) -> bool | None:
    if not measurable():
        return None
    if judge.verdict is None and judge.seen and not judge.may_wait:
        return False
    return judge.verdict


def _said(spec: WorkerSpec) -> tuple[int, str] | None:
    """What needs no finding."""
    if spec.concurrency is not None:
        return spec.concurrency, f"CONCURRENCY={spec.concurrency}"
    if spec.batching == "on":
        return 1, "BATCHING=on"
    if spec.slots is not None:
        return spec.slots, "found by the first worker"
    return None


class _Untold(Exception):
    """It can't be told whether the model stands several requests; the message says why."""


def _try_at_once(protocol: Protocol, questions: Sequence[Question], seconds: float) -> str | None:
    """Ask two questions alone until each has two answers, then at once.

    Args:
        seconds: What that may take, as far as it can be foreseen.

    Returns:
        What is wrong with the answers at once, if anything is.

    Raises:
        _Untold: nothing can be concluded.
    """
    if len(questions) < _ALONE:
        raise _Untold(f"{_UNTRIED}: it has no example that can be varied")
    pair = questions[:2]
    rounds = 1 + sum(max(_ALONE - len(question.answers), 0) for question in pair)
    if rounds * max(question.seconds for question in pair) > seconds:
        raise _Untold(f"{_UNTRIED}: it takes too long")
    for question in pair:
        while len(question.answers) < _ALONE:
            _ask_alone(protocol, question)
    _look_whether_steady(pair)
    answers = _at_once(protocol, pair)
    if _as_alone(pair, answers):
        return None
    # Time has passed, which may be all that is new; or what the model needs is gone.
    for question in pair:
        _ask_alone(protocol, question)
    _look_whether_steady(pair)
    if _as_alone(pair, answers):
        return None
    if None in answers:
        return "fails on requests at once that it answers one by one"
    return "answers requests at once in another way than one by one"


def _ask_alone(protocol: Protocol, question: Question) -> None:
    if not question.ask(protocol):
        raise _Untold(f"{_UNTRIED}: it does not answer requests like its example")


def _look_whether_steady(pair: Sequence[Question]) -> None:
    if _steady(pair) is None:
        raise _Untold("it answers the same request in several ways, so nothing can be compared")


def _at_once(protocol: Protocol, questions: Sequence[Question]) -> list[bytes | None]:
    """What is answered to each; None where there was nothing, or not in time."""
    answers: list[bytes | None] = [None] * len(questions)
    all_there = threading.Barrier(len(questions))

    def ask(place: int) -> None:
        question = Question(questions[place].content_type, questions[place].body)
        all_there.wait()
        if question.ask(protocol):
            (answers[place],) = question.answers

    threads = [
        threading.Thread(target=ask, args=(place,), daemon=True) for place in range(len(questions))
    ]
    for thread in threads:
        thread.start()
    alone = sum(question.seconds for question in questions)
    until = time.monotonic() + max(_LEAST_PATIENCE_SECONDS, _PATIENCE * alone)
    for thread in threads:
        # One that hangs stays: no worker is forked from a process with such a thread.
        thread.join(max(until - time.monotonic(), 0))
    return [*answers]


def _steady(questions: Sequence[Question]) -> bool | None:
    """Whether what passes must be left out for answers to the same request to be the same; None
    where they differ all the same."""
    for without_passing in (False, True):
        if all(
            _same(question.answers[0], answer, without_passing=without_passing)
            for question in questions
            for answer in question.answers[1:]
        ):
            return without_passing
    return None


def _as_alone(questions: Sequence[Question], answers: Sequence[bytes | None]) -> bool:
    without_passing = bool(_steady(questions))
    return all(
        answer is not None
        and any(_same(alone, answer, without_passing=without_passing) for alone in question.answers)
        for question, answer in zip(questions, answers, strict=True)
    )


def _same(left: bytes, right: bytes, *, without_passing: bool) -> bool:
    if without_passing:
        left, right = (json.dumps(_lasting(json.loads(one))).encode() for one in (left, right))
    return same_body(left, right)


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in _PASSING}
    if isinstance(value, list):
        return [_lasting(item) for item in value]
    return value
