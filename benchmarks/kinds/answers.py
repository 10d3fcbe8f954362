"""Whether two servers answer the same."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.client import Client
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Running

_TOLERANCE = 1e-5
"""Of the largest number in an answer: what is left of float32 after many sums."""


def require_equal(servers: Sequence[Running], bodies: Sequence[Any]) -> None:
    """Ask all servers the same.

    Raises:
        BenchmarkError: one answers something else than the first, but for rounding.
    """
    first, *others = [list(_answers(server, bodies)) for server in servers]
    for server, answers in zip(servers[1:], others, strict=True):
        for body, expected, answer in zip(bodies, first, answers, strict=True):
            if not agree(expected, answer):
                said = f"{json.dumps(expected)[:200]} and {json.dumps(answer)[:200]}"
                asked = json.dumps(body)[:200]
                title = server.competitor.title
                raise BenchmarkError(f"{title} answers otherwise to {asked}: {said}")


def agree(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, but for what numbers lose by rounding."""
    scale = max(map(abs, (*_numbers(one), *_numbers(other))), default=0.0)
    return _alike(one, other, _TOLERANCE * scale)


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(
                _alike(value, other[key], tolerance) for key, value in one.items()
            )
        case list(), list():
            return len(one) == len(other) and all(
                _alike(a, b, tolerance) for a, b in zip(one, other, strict=True)
            )
        case (float(), float() | int()) | (int(), float()):
            return math.isclose(one, other, rel_tol=0.0, abs_tol=tolerance)
    return bool(one == other)


def _numbers(value: Any) -> Iterator[float]:
    match value:
        case dict():
            for entry in value.values():
                yield from _numbers(entry)
        case list():
            for entry in value:
                yield from _numbers(entry)
        case float():
            yield value


def _answers(server: Running, bodies: Sequence[Any]) -> Iterator[Any]:
    client = Client(server.port)
    try:
        for body in bodies:
            content = client.post(server.competitor.path, json.dumps(body).encode())
            yield json.loads(content)["predictions"]
    finally:
        client.close()
