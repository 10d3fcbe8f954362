"""Predicting requests together, and whether each then gets what it gets alone."""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from ..protocol import AnswerKind, Protocol, Request, kind_of_answer

# Libraries add up in another order for other sizes of input.
_RELATIVE = 1e-5
_ABSOLUTE = 1e-8


class Answered(NamedTuple):
    """A request, and the body of the answer that it got alone."""

    request: Request
    answer: bytes


class Differs(Exception):
    """Sharing a prediction would change an answer; the message says how, without anyone's data."""


def predict_together(
    protocol: Protocol, requests: Sequence[Request]
) -> tuple[AnswerKind, list[bytes]]:
    """Answer requests of one row each, and of one merge key, with one prediction.

    Returns:
        What kind of answer the model gave, and the body of each request's.

    Raises:
        Exception: whatever goes wrong on the way, a wrong number of rows among it.
    """
    predictions = protocol.predict(protocol.merge(requests))
    shares = protocol.split(predictions, [1] * len(requests))
    bodies = [protocol.encode(*pair) for pair in zip(requests, shares, strict=True)]
    return kind_of_answer(predictions), bodies


def compare(protocol: Protocol, members: Sequence[Answered]) -> AnswerKind:
    """Answer requests together, and compare with what each got alone.

    Returns:
        What kind of answer the model gave.

    Raises:
        Differs: one of them got something else, or nothing.
    """
    try:
        kind, bodies = predict_together(protocol, [member.request for member in members])
        same = all(
            same_body(member.answer, body) for member, body in zip(members, bodies, strict=True)
        )
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


def by_merge_key(members: Iterable[Answered]) -> dict[object, list[Answered]]:
    """Return the requests that may go together: of one row each, all different, by merge key."""
    groups: dict[object, dict[bytes, Answered]] = {}
    for member in members:
        request = member.request
        if request.merge_key is not None and request.rows == 1:
            rows = orjson.dumps(request.table)
            groups.setdefault(request.merge_key, {})[rows] = member
    return {key: [*different.values()] for key, different in groups.items()}


def same_body(left: bytes, right: bytes) -> bool:
    """Whether the bodies of two answers say the same, numbers within rounding."""
    return left == right or _same(json.loads(left), json.loads(right))


def _same(left: Any, right: Any) -> bool:
    """Whether two answers are equal, numbers within rounding."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, float):
        return math.isclose(left, right, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return bool(left == right)
