"""Showing that a model treats each row by itself, so that requests may share a prediction."""

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.worker.protocol import EncodingError, InvalidInput, ModelError, Protocol, Request
from server.worker.variations import MOST_ROWS, Row, vary

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")

_FEWEST_ROWS = 3
_MOST_MERGED = 64
# What the proof of one format may cost; a slow model gets fewer rows, a very slow one no proof.
_SECONDS = 2.0
# Libraries add up in another order for other sizes of input.
_RELATIVE = 1e-5
_ABSOLUTE = 1e-8


@dataclass(frozen=True, slots=True)
class Proof:
    """Which formats' requests may be merged, and why those, in words for `/info`."""

    formats: frozenset[str]
    reason: str


def prove(protocol: Protocol, rows: Sequence[Row]) -> Proof:
    """Predict rows alone and together, in several orders and numbers, and compare.

    Args:
        protocol: The model.
        rows: At least one row that the model takes.
    """
    proved = []
    reason = "no request format of this model can be merged"
    for format_ in FORMATS:
        bodies = [_body(format_, row) for row in vary(rows, MOST_ROWS)]
        requests = [r for body in bodies if body and (r := _mergeable(protocol, body))]
        if len(requests) < _FEWEST_ROWS:
            continue
        problem = _compare(protocol, requests)
        if problem is None:
            proved.append(format_)
        elif problem is not _UNUSABLE:
            # What looks across rows in one format does so in all.
            return Proof(frozenset(), problem)
        else:
            reason = problem
    if not proved:
        return Proof(frozenset(), reason)
    return Proof(
        frozenset(proved), "rows predicted together gave what each gave alone: merging is safe"
    )


_UNUSABLE = "the model answers too few variations of its example to tell"


def _body(format_: str, row: Row) -> bytes | None:
    """A request for one row in a format, or None where the format can't hold such a row."""
    if format_ == "dataframe_split":
        if not isinstance(row, dict):
            return None
        return _json({format_: {"columns": list(row), "data": [list(row.values())]}})
    if format_ == "dataframe_records" and not isinstance(row, dict):
        return None
    return _json({format_: [row]})


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _mergeable(protocol: Protocol, body: bytes) -> Request | None:
    try:
        request = protocol.parse("application/json", body)
    except InvalidInput:
        return None
    return request if request.merge_key is not None and request.rows == 1 else None


def _compare(protocol: Protocol, requests: list[Request]) -> str | None:
    """Return why the requests may not be merged, or None if they may."""
    started = time.monotonic()
    alone: list[tuple[Request, Any]] = []
    for request in requests:
        if alone and time.monotonic() - started > _SECONDS / 2:
            break
        try:
            alone.append((request, _value(protocol, request, protocol.predict(request))))
        except (InvalidInput, ModelError, EncodingError, SystemExit):
            # A made-up value that this model does not know.
            continue
    if time.monotonic() - started > _SECONDS * 2:
        return "a prediction takes too long to try merging"
    # Only what merges with the first: a varied value may have become another JSON type.
    key = alone[0][0].merge_key if alone else None
    alone = [pair for pair in alone if pair[0].merge_key == key]
    if len(alone) < _FEWEST_ROWS:
        return _UNUSABLE
    for order in _orders(len(alone)):
        members = [alone[index] for index in order]
        problem = _compare_merged(protocol, members)
        if problem is not None:
            return problem
    for request, expected in alone:
        if not _same(_value(protocol, request, protocol.predict(request)), expected):
            return "the model answers the same request differently each time"
    return None


def _orders(count: int) -> list[list[int]]:
    everything = list(range(count))
    chance = random.Random(1)  # noqa: S311  # the same orders at every load
    many = [chance.randrange(count) for _ in range(_MOST_MERGED)]
    return [everything, everything[::-1], everything[:2], everything[-2:], many]


def _compare_merged(protocol: Protocol, members: Sequence[tuple[Request, Any]]) -> str | None:
    requests = [request for request, _ in members]
    try:
        shares = protocol.split(protocol.predict(protocol.merge(requests)), [1] * len(requests))
    except Exception as error:
        return f"the model fails on rows together that it answers alone: {type(error).__name__}"
    for (request, expected), share in zip(members, shares, strict=True):
        if not _same(_value(protocol, request, share), expected):
            return "rows predicted together do not give what each gives alone"
    return None


def _value(protocol: Protocol, request: Request, predictions: Any) -> Any:
    return orjson.loads(protocol.encode(request, predictions))


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
