"""Showing that a model treats each row by itself, so that requests may share a prediction."""

import contextlib
import itertools
import random
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from ..protocol import (
    AnswerKind,
    EncodingError,
    InvalidInput,
    ModelError,
    Protocol,
    Request,
)
from .forms import in_each_form
from .merge_keys import MergeKeys
from .together import Answered, Differs, compare, widest
from .variations import Row, vary

# What the proof may cost altogether; a slow model gets fewer rows, a very slow one no proof.
_SECONDS = 2.0
_ROWS = 16
_FEWEST_ROWS = 3
# Fewer than these of what a client happened to send are left to trials.
_FEWEST_RECORDED = 8
# Of the time, for predicting rows alone. The rest is for predicting them together, in so many
# orders.
_SHARE_ALONE = 1 / 3
_ORDERS = 5
_MOST_TOGETHER = 64

_SAFE = "rows predicted together gave what each gave alone: merging is safe"


@dataclass(frozen=True, slots=True)
class Proof:
    """What may be merged.

    Attributes:
        keys: Which requests may share predictions.
        formats: The request formats of those that were tried.
        reason: Why those, in words for `/info`.
    """

    keys: MergeKeys
    formats: frozenset[str]
    reason: str

    @classmethod
    def nothing(cls, reason: str) -> "Proof":
        """No requests may share predictions."""
        return cls(MergeKeys(), frozenset(), reason)


class _Undecided(Exception):
    """It can't be told of this form; the message says why."""


class _TooSlow(Exception):
    """There is no time left for this form, nor for those after it."""


@dataclass(frozen=True, slots=True)
class _Proved:
    """A form that is proved: what was answered to which of the rows, and the kind of answer."""

    members: dict[int, Answered]
    kind: AnswerKind


def prove(
    protocol: Protocol,
    rows: Sequence[Row],
    recorded: Mapping[Hashable, Sequence[Answered]],
    most_rows: int,
) -> Proof:
    """Predict rows alone and together, in several orders and numbers, and compare.

    It takes some two seconds at most.

    Args:
        protocol: The model.
        rows: At least one row that the model takes.
        recorded: Real requests of one row each, and what the model answered, by merge key.
        most_rows: Most rows in one prediction, at least 2.
    """
    deadline = time.monotonic() + _SECONDS
    proved: list[_Proved] = []
    keys = MergeKeys()
    formats: set[str] = set()
    reason = "no request format of this model can be merged"
    try:
        for requests in in_each_form(protocol, vary(rows, _ROWS)):
            first = next(filter(None, requests))
            if keys.merges(first.merge_key):
                continue
            try:
                form = _prove_form(protocol, requests, proved, most_rows, deadline)
            except _Undecided as undecided:
                reason = str(undecided)
                continue
            proved.append(form)
            keys.prove(first.merge_key, form.kind)
            formats.add(first.format)
    except _TooSlow:
        reason = "a prediction takes too long to try merging"
    except Differs as difference:
        # What looks across rows in one format does so in all.
        return Proof.nothing(str(difference))
    if not proved:
        return Proof.nothing(reason)
    with contextlib.suppress(_TooSlow):
        _prove_recorded(protocol, recorded, keys, most_rows, deadline)
    return Proof(keys, frozenset(formats), _SAFE)


def _prove_form(
    protocol: Protocol,
    requests: Sequence[Request | None],
    proved: Sequence[_Proved],
    most_rows: int,
    deadline: float,
) -> _Proved:
    if time.monotonic() > deadline:
        raise _TooSlow
    for other in proved:
        if _same_inputs(protocol, other.members, requests):
            # The model can't tell the two forms apart.
            return other
    members = _answer_alone(protocol, requests, deadline)
    return _Proved(members, _compare_orders(protocol, [*members.values()], most_rows, deadline))


def _prove_recorded(
    protocol: Protocol,
    recorded: Mapping[Hashable, Sequence[Answered]],
    keys: MergeKeys,
    most_rows: int,
    deadline: float,
) -> None:
    """Prove, or bar, what clients send and no example is like."""
    for key, members in recorded.items():
        if keys.merges(key) or len(members) < _FEWEST_RECORDED:
            continue
        try:
            keys.prove(key, _compare_orders(protocol, members, most_rows, deadline))
        except Differs:
            keys.bar(key)


def _same_inputs(
    protocol: Protocol, members: Mapping[int, Answered], requests: Sequence[Request | None]
) -> bool:
    """Whether the model gets the same input for requests as for those that were answered, for
    some of them alone and for all together."""
    others = [member.request for member in members.values()]
    same_rows = [request for place in members if (request := requests[place])]
    if len(same_rows) < len(others):
        return False
    pairs = [
        *itertools.islice(zip(same_rows, others, strict=True), _FEWEST_ROWS),
        (protocol.merge(same_rows), protocol.merge(others)),
    ]
    try:
        return all(itertools.starmap(protocol.same_input, pairs))
    except Exception:
        # Predicting will tell why it can't be converted.
        return False


def _answer_alone(
    protocol: Protocol, requests: Sequence[Request | None], deadline: float
) -> dict[int, Answered]:
    """Return the answers by the request's place, without those that the model would not answer:
    it need not know a made-up value."""
    started = now = time.monotonic()
    until = started + (deadline - started) * _SHARE_ALONE
    answered: dict[int, Answered] = {}
    tried = 0
    for place, request in enumerate(requests):
        if request is None or (len(answered) >= _FEWEST_ROWS and now > until):
            continue
        tried += 1
        with contextlib.suppress(InvalidInput, ModelError, EncodingError):
            body = protocol.encode(request, protocol.predict(request))
            answered[place] = Answered(request, body)
        now = time.monotonic()
        ahead = max(_FEWEST_ROWS - len(answered), 0) + _ORDERS
        if now + (now - started) / tried * ahead > deadline:
            raise _TooSlow
    if len(answered) < _FEWEST_ROWS:
        raise _Undecided("the model answers too few variations of its example to tell")
    return answered


def _compare_orders(
    protocol: Protocol, members: Sequence[Answered], most_rows: int, deadline: float
) -> AnswerKind:
    kinds = set()
    seconds_per_row = 0.0
    for order in _orders(len(members)):
        some = [members[place] for place in order[:most_rows]]
        started = time.monotonic()
        if started + seconds_per_row * len(some) > deadline:
            raise _TooSlow
        kinds.add(compare(protocol, some))
        seconds_per_row = (time.monotonic() - started) / len(some)
    return widest(kinds)


def _orders(count: int) -> list[list[int]]:
    """Which of `count` rows to predict together, the smallest numbers first."""
    everything = [*range(count)]
    chance = random.Random(1)  # noqa: S311  # the same orders at every load
    many = [chance.randrange(count) for _ in range(_MOST_TOGETHER)]
    return [everything[:2], everything[-2:], everything, everything[::-1], many]
