"""Which value of a refused input does not fit, in words for the client."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from mlflow.types import DataType

from ..codecs import FORMATS
from .errors import presentable
from .parsing import GUESSED_DATES, SPLIT, Request, json_type
from .signature import Column, InputSignature
from .values import BESIDE_NULLS, binary, dates, is_null, own_array


def explain(request: Request, signature: InputSignature) -> str | None:
    """Name the first value that can't be converted to the type of its column.

    Returns:
        A message with the column, its type, the row and the value; `None` if what is wrong isn't
        a value of a column of scalars.
    """
    declared = signature.scalar_columns
    if declared is None or request.format not in FORMATS:
        return None
    for name, values in _columns(request, tuple(declared)):
        if not isinstance(name, str) or name not in declared:
            continue
        column = declared[name]
        beside_nulls = not column.required and any(map(is_null, values))
        fits = partial(_fits, column, request.format in GUESSED_DATES, beside_nulls)
        row = _first_misfit(values, fits)
        if row is not None:
            takes = _TYPES[column.type]
            if beside_nulls and column.type in BESIDE_NULLS:
                takes += f", beside nulls {BESIDE_NULLS[column.type]}"
            return f"column '{name}' takes {takes}; row {row} has {_written(values[row])}"
    if len(declared) > 1 and request.format != SPLIT and _holds_lists(request.payload):
        return f"rows that are lists must hold {len(declared)} values each, one for each column"
    return None


_TYPES = {
    DataType.boolean: "booleans (boolean)",
    DataType.integer: "integers of 32 bits (integer)",
    DataType.long: "integers of 64 bits (long)",
    DataType.float: "numbers (float)",
    DataType.double: "numbers (double)",
    DataType.string: "strings (string)",
    DataType.binary: "base64 strings (binary)",
    DataType.datetime: "ISO 8601 dates (datetime)",
}


def _columns(request: Request, names: tuple[str, ...]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Yield the columns of these names with their values, of any shape of table that has some."""
    payload = request.payload
    if request.format == SPLIT and isinstance(payload, dict):
        rows, columns = payload.get("data"), payload.get("columns")
        if isinstance(rows, list) and isinstance(columns, list):
            for place, name in enumerate(columns):
                if isinstance(name, str) and name in names:
                    yield (
                        name,
                        [row[place] for row in rows if isinstance(row, list) and place < len(row)],
                    )
    elif isinstance(payload, dict):
        for name, values in payload.items():
            yield name, values if isinstance(values, list) else [values]
    elif isinstance(payload, list) and any(isinstance(row, dict) for row in payload):
        # A column that no row has is not looked for in each.
        present = {*chain.from_iterable(row for row in payload if isinstance(row, dict))}
        for name in filter(present.__contains__, names):
            yield name, [row[name] for row in payload if isinstance(row, dict) and name in row]
    elif isinstance(payload, list) and len(names) == 1:
        yield names[0], payload


def _first_misfit(values: Sequence[Any], fits: Callable[[Sequence[Any]], bool]) -> int | None:
    """Find the first value that can't be converted, by halves: there may be a million."""
    if fits(values):
        return None
    start, end = 0, len(values)
    while end - start > 1:
        middle = (start + end) // 2
        if fits(values[start:middle]):
            start = middle
        else:
            end = middle
    # Dates may each be well written, and yet not in one format.
    return None if fits(values[start:end]) else start


def _fits(column: Column, guess: bool, beside_nulls: bool, values: Sequence[Any]) -> bool:
    if not column.required:
        values = [value for value in values if not is_null(value)]
    try:
        if beside_nulls and column.type in BESIDE_NULLS:
            own_array(column, [None, *values])
        if column.type is DataType.datetime:
            dates(values, guess)
        elif column.type is DataType.binary:
            for value in values:
                binary(value)
        elif column.type is not DataType.string:
            return np.array(values, dtype=column.type.to_numpy()).ndim == 1
    except Exception:
        return False
    return True


def _written(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json_type(value)
    return (
        f"{json_type(value)} {presentable(json.dumps(value), 40)}" if value is not None else "null"
    )


def _holds_lists(payload: Any) -> bool:
    return isinstance(payload, list) and any(isinstance(row, list) for row in payload)
