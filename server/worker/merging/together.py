"""Predicting requests together, and whether each then gets what it gets alone."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import orjson

from ..protocol import AnswerKind, MergeKey, Protocol, Request, kind_of_answer
from .closeness import same_bodies


class Answered(NamedTuple):
    """A request, and the body of the answer that it got alone."""

    request: Request
    answer: bytes

    @property
    def row(self) -> bytes:
        """What tells its row from others."""
        return orjson.dumps(self.request.table)


class Differs(Exception):
    """Sharing a prediction would change an answer; the message says how, without anyone's data."""


def predict_together(
    protocol: Protocol, requests: Sequence[Request]
) -> tuple[AnswerKind, list[bytes]]:
    """Answer requests of one row each, which may share a prediction, with one.

    Returns:
        What kind of answer the model gave, and the body of each request's.

    Raises:
        Exception: whatever goes wrong on the way, a wrong number of rows among it.
    """
    predictions = protocol.predict(protocol.merge(requests))
    shares = protocol.split(predictions, [1] * len(requests))
    bodies = [protocol.encode(*pair) for pair in zip(requests, shares, strict=True)]
    return kind_of_answer(predictions), bodies


def compare(
    protocol: Protocol, members: Sequence[Answered], known: Sequence[Answered] = ()
) -> AnswerKind:
    """Answer requests together, and compare with what each got alone.

    Args:
        known: Others like them, see `same_bodies`.

    Returns:
        What kind of answer the model gave.

    Raises:
        Differs: one of them got something else, or nothing.
    """
    try:
        kind, bodies = predict_together(protocol, [member.request for member in members])
        same = same_bodies([m.answer for m in members], bodies, [m.answer for m in known])
    except BaseException as error:
        name = type(error.__cause__ or error).__name__
        raise Differs(f"the model fails on rows together that it answers alone: {name}") from error
    if not same:
        raise Differs("rows predicted together do not give what each gives alone")
    return kind


def widest(kinds: Collection[AnswerKind]) -> AnswerKind:
    """Return the widest of the kinds of answers that were right.

    Raises:
        Differs: it does not hold all others. Rows that call for either could, together, all get
            one.
    """
    most = max(kinds, key=len)
    if all(kind <= most for kind in kinds):
        return most
    raise Differs("rows predicted together get answers of several types")


def by_merge_key(members: Iterable[Answered]) -> dict[MergeKey, list[Answered]]:
    """Return the requests that may go together: of one row each, all different, by merge key."""
    groups: dict[MergeKey, dict[bytes, Answered]] = {}
    for member in members:
        request = member.request
        if request.merge_key is not None and request.rows == 1:
            groups.setdefault(request.merge_key, {})[member.row] = member
    return {key: [*different.values()] for key, different in groups.items()}
