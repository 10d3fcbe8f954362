"""What kind of answer a model gives: containers, columns and types, without the values."""

from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

AnswerKind: TypeAlias = frozenset[Hashable]
"""What was seen in an answer and where; an answer of which less was seen fits as well."""

_Place: TypeAlias = tuple[Hashable, ...]

# Stands for every item of a list in a place.
_ITEM = "[]"
# Numpy's kind of columns that hold any Python values.
_OBJECT = "O"
_COLUMNS = (np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)


def kind_of_answer(answer: Any) -> AnswerKind:
    """Return the kind of an answer to one or more rows.

    Nulls among other values are not seen: they stand beside any type without changing it. The
    number of rows isn't either.
    """
    return frozenset(_seen((), [answer]))


def _seen(place: _Place, values: Sequence[Any]) -> Iterator[Hashable]:
    """Yield what there is to see in values that stand in the same place."""
    for type_ in {*map(type, values)} - {type(None)}:
        if not issubclass(type_, (list, tuple, dict, pd.DataFrame, *_COLUMNS)):
            yield place, type_
            continue
        some: list[Any] = [value for value in values if type(value) is type_]
        if issubclass(type_, (list, tuple)):
            yield place, type_
            yield from _seen((*place, _ITEM), [*chain.from_iterable(some)])
        elif issubclass(type_, dict):
            yield from _seen_in_objects(place, some)
        else:
            for value in some:
                yield from _seen_in_columns(place, value)


def _seen_in_objects(place: _Place, objects: Sequence[dict[Any, Any]]) -> Iterator[Hashable]:
    yield from {(place, dict, tuple(value)) for value in objects}
    for key in {*chain.from_iterable(objects)}:
        yield from _seen((*place, key), [value[key] for value in objects if key in value])


def _seen_in_columns(place: _Place, value: Any) -> Iterator[Hashable]:
    if isinstance(value, pd.DataFrame):
        names = [*map(_name, value.dtypes)]
        yield place, pd.DataFrame, tuple(value.columns), tuple(names)
        for number, name in enumerate(names):
            if name == _OBJECT:
                yield from _seen((*place, number), value.iloc[:, number].tolist())
        return
    name = _name(value.dtype)
    yield place, type(value), getattr(value, "name", None), value.shape[1:], name
    if name == _OBJECT:
        yield from _seen((*place, _ITEM), value.ravel().tolist())


def _name(dtype: Any) -> str:
    # Not numpy's whole name: texts differ in width, and dates in their unit.
    return dtype.kind if isinstance(dtype, np.dtype) else str(dtype)
