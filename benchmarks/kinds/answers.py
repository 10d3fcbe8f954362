"""Whether two servers answer the same."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.client import Client
from benchmarks.errors import BenchmarkError

_TOLERANCE = 1e-5
"""Of the largest number in an answer: what is left of float32 after many sums."""


def require_equal(ports: Mapping[str, int], bodies: Sequence[Any]) -> None:
    """Ask all servers the same.

    Args:
        ports: Where each listens, by its title.
        bodies: The requests, as JSON values.

    Raises:
        BenchmarkError: one answers something else than the first, but for rounding.
    """
    answers = {title: list(_answers(port, bodies)) for title, port in ports.items()}
    first, *others = answers
    for title in others:
        for body, expected, answer in zip(bodies, answers[first], answers[title], strict=True):
            if not agree(expected, answer):
                said = f"{json.dumps(expected)[:200]} and {json.dumps(answer)[:200]}"
                asked = json.dumps(body)[:200]
                raise BenchmarkError(f"{first} and {title} answer {asked} differently: {said}")


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


def _answers(port: int, bodies: Sequence[Any]) -> Iterator[Any]:
    client = Client(port)
    try:
        for body in bodies:
            content = client.post("/invocations", json.dumps(body).encode())
            yield json.loads(content)["predictions"]
    finally:
        client.close()
