"""Columns of arrays, where each value is plainly what the signature says.

MLflow makes a Series of each row's list, and does so twice: when it parses the input and when it
enforces the schema (mlflow/models/utils.py, `_enforce_array`). The outcome is the same.
"""

from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType
from mlflow.types.schema import Array

# From pandas 3 on, what a Series hands out can't be written to.
_WRITEABLE = pd.Series([0.0]).to_numpy().flags.writeable

_LEAST_LONG, _MOST_LONG = -(2**63), 2**63 - 1


def lists_of(type_: Array, values: Sequence[Any]) -> Any | None:
    """Return the column that MLflow makes of lists in a frame: new lists. `None` where its way is
    needed, to convert or to refuse.

    Args:
        type_: The type of the column.
        values: JSON values, one for each row.
    """
    lists = _copied(type_, values)
    return None if lists is None else _objects(lists)


def arrays_of(type_: Array, values: Sequence[Any]) -> Any | None:
    """Return the column that MLflow makes of lists in the rows of `inputs`: numpy's arrays. `None`
    as for `lists_of`, and for others than arrays of numbers and booleans.

    Args:
        type_, values: As for `lists_of`.
    """
    if not isinstance(type_.dtype, DataType) or type_.dtype is DataType.string:
        return None
    # Of empty ones MLflow makes arrays of another type.
    if not all(values) or _copied(type_, values) is None:
        return None
    dtype = type_.dtype.to_numpy()
    arrays = [np.array(value, dtype=dtype) for value in values]
    for array in arrays:
        array.flags.writeable = _WRITEABLE
    return _objects(arrays)


def _copied(type_: Any, values: Sequence[Any]) -> Sequence[Any] | None:
    """Return values that stand in the same place, with lists of their own."""
    if isinstance(type_, DataType):
        kind, fits = _FITTING.get(type_, (None, _any))
        return values if {*map(type, values)} <= {kind} and fits(values) else None
    if not isinstance(type_, Array) or {*map(type, values)} != {list}:
        return None
    within = _copied(type_.dtype, [*chain.from_iterable(values)])
    if within is None:
        return None
    items = iter(within)
    return [[*islice(items, len(value))] for value in values]


def _any(_values: Sequence[Any]) -> bool:
    return True


def _are_long(values: Sequence[int]) -> bool:
    return min(values, default=0) >= _LEAST_LONG and max(values, default=0) <= _MOST_LONG


def _are_kept(values: Sequence[str]) -> bool:
    """Tell whether numpy and Arrow keep texts as they are: with a NUL at the end, or a lone
    surrogate, they don't."""
    text = "".join(values)
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


# What JSON has to hold for a type, and what else has to be true of all values.
_FITTING: dict[Any, tuple[type, Callable[[Any], bool]]] = {
    DataType.boolean: (bool, _any),
    DataType.double: (float, _any),
    DataType.long: (int, _are_long),
    DataType.string: (str, _are_kept),
}


def _objects(values: Sequence[Any]) -> Any:
    # From a list of lists numpy would make an array of two dimensions.
    return np.fromiter(values, dtype=object, count=len(values))
