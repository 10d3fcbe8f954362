"""Whether two answers say the same, numbers within rounding.

Libraries add up in another order for other numbers of rows, and what that changes grows with the
largest number of a vector rather than with each: of ten probabilities the smallest may differ in
its second digit. So the numbers of a vector are compared by what is largest among them, besides
each by itself; one that stands alone, by what is largest in its place in any answer. How wide the
bounds are depends on whether the numbers are float32, which JSON shows: each of them is one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# Of each number.
_RELATIVE = 1e-5
# Of the largest number of a vector, or in the place of one that stands alone: some 8 units in the
# last place of a float32.
_OF_FLOAT32 = 1e-6
_OF_FLOAT64 = 1e-9
# Where others of its vector are far larger, no number may differ by more than that of the largest
# in its place, unless both are next to nothing: that would let anything pass.
_OF_PLACE = 1e-3
_NOTHING = 1e-7

_Numbers: TypeAlias = npt.NDArray[np.float64]
_Place: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Vector:
    """Numbers that stand in one list, or in one object.

    Attributes:
        record: They are an object's, so that each has a meaning, and perhaps a unit, of its own.
        numbers: The numbers, in order.
    """

    record: bool
    numbers: list[float] = field(default_factory=list)


def same_body(left: bytes, right: bytes) -> bool:
    """Whether the bodies of two answers say the same."""
    return same_bodies([left], [right])


def same_bodies(left: Sequence[bytes], right: Sequence[bytes], known: Sequence[bytes] = ()) -> bool:
    """Whether bodies of answers say the same as others, each as the one in its place.

    Args:
        left: Answers.
        right: As many others.
        known: More answers that tell how large numbers are, besides `left`.
    """
    if [*left] == [*right]:
        return True
    scale = _Scale([_Answer(body) for body in (*left, *known)])
    return all(
        one == other or _same(_Answer(one), _Answer(other), scale)
        for one, other in zip(left, right, strict=True)
    )


class _Answer:
    """An answer, its numbers apart.

    Attributes:
        rest: All else, as something to be compared.
        vectors: The numbers, by where they stand.
    """

    def __init__(self, body: bytes) -> None:
        self.vectors: dict[_Place, _Vector] = {}
        self._begun: Counter[_Place] = Counter()
        self.rest = self._take(json.loads(body), (), None)

    def _take(self, value: Any, place: _Place, vector: _Vector | None) -> Any:
        if isinstance(value, float):
            vector = vector or self._begin(place, record=True)
            vector.numbers.append(value)
            return float
        if isinstance(value, list):
            items = vector if vector is not None and not vector.record else None
            items = items or self._begin((*place, "[]"), record=False)
            return [self._take(item, (*place, "[]"), items) for item in value]
        if isinstance(value, dict):
            fields = self._begin((*place, "{}"), record=True)
            return {key: self._take(value[key], (*place, key), fields) for key in sorted(value)}
        # Equal values of several types, such as 1 and true, are not the same answer.
        return type(value), value

    def _begin(self, place: _Place, *, record: bool) -> _Vector:
        self._begun[place] += 1
        return self.vectors.setdefault((*place, str(self._begun[place])), _Vector(record))


class _Scale:
    """How large numbers are in each place of vectors, as far as all are of one length."""

    def __init__(self, answers: Sequence[_Answer]) -> None:
        self._largest: dict[_Place, _Numbers | None] = {}
        for answer in answers:
            for place, vector in answer.vectors.items():
                self._note(place, np.abs(vector.numbers))

    def _note(self, place: _Place, sizes: _Numbers) -> None:
        known = self._largest.setdefault(place, sizes)
        if known is not None:
            fits = known.shape == sizes.shape
            self._largest[place] = np.maximum(known, sizes) if fits else None

    def of(self, place: _Place, sizes: _Numbers) -> _Numbers:
        """The largest in each place, or these where that is not known."""
        known = self._largest.get(place)
        return sizes if known is None or known.shape != sizes.shape else known


def _same(left: _Answer, right: _Answer, scale: _Scale) -> bool:
    return left.rest == right.rest and all(
        _close(left.vectors[place], right.vectors[place], scale, place) for place in left.vectors
    )


def _close(left: _Vector, right: _Vector, scale: _Scale, place: _Place) -> bool:
    one, other = np.array(left.numbers), np.array(right.numbers)
    if np.array_equal(one, other):
        return True
    sizes = np.maximum(np.abs(one), np.abs(other))
    different = np.abs(one - other)
    share = _OF_FLOAT32 if _are_float32(one) and _are_float32(other) else _OF_FLOAT64
    largest_there = np.maximum(scale.of(place, sizes), sizes)
    if len(sizes) == 1:
        most = share * largest_there
    elif left.record:
        most = share * np.minimum(sizes.max(), largest_there)
    else:
        most = np.minimum(share * sizes.max(), np.maximum(_OF_PLACE * largest_there, _NOTHING))
    return bool((different <= np.maximum(_RELATIVE * sizes, most)).all())


def _are_float32(numbers: _Numbers) -> bool:
    with np.errstate(over="ignore"):
        return bool((numbers.astype(np.float32) == numbers).all())
