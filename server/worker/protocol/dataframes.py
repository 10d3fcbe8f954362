"""The data frame that MLflow would make of a table, made in one step."""

from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, combinations
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType

from .signature import Column, InputSignature
from .tables import Kind, Layout, columns_of, kind_of
from .values import TEXT, own_array

# Python's own arrays of these types take what MLflow converts alike in every format (numbers and
# booleans), and refuse strings, nulls, floats for an integer, and integers that are too large.
_ARRAY_CODES = {DataType.integer: "i", DataType.long: "q", DataType.double: "d"}


def _kinds(*types: type) -> frozenset[Kind]:
    mixed = (frozenset(some) for count in (2, 3) for some in combinations(types, count))
    return frozenset((*types, *mixed))


# For the other columns, the kinds from which MLflow makes the same column in every format.
# Integers for a float are not among them: it rounds large ones twice in some formats.
_FITTING: dict[DataType, frozenset[Kind]] = {
    DataType.boolean: _kinds(bool),
    DataType.double: _kinds(float, int, type(None)),
    DataType.float: _kinds(float, type(None)),
    DataType.string: _kinds(str),
}


class FrameBuilder:
    """Builds frames for a signature of columns of scalars.

    MLflow converts and copies such a frame column by column, and twice: when it parses the input
    (mlflow/utils/proto_json_utils.py, `convert_data_type` for some formats,
    `cast_df_types_according_to_schema` for the others) and when it enforces the schema
    (mlflow/models/utils.py, `_enforce_schema`). The outcome is the same, but for what `values`
    says.
    """

    def __init__(self, signature: InputSignature) -> None:
        self._signature = signature
        self._columns = signature.columns
        self._names = tuple(self._columns)
        self._index = signature.index_of(self._names)
        self._types = {name: column.type for name, column in self._columns.items()}
        self._required = frozenset(signature.required)

    def build(self, table: Any, layout: Layout, guess_dates: bool = False) -> pd.DataFrame | None:
        """Return the frame, or `None` where MLflow's way is needed, to convert or to refuse.

        Args:
            table: The JSON value that holds the rows.
            layout: How they are laid out.
            guess_dates: Dates may be written in other ways than ISO 8601: see `values.dates`.

        Raises:
            Misfit: a value can't be converted.
        """
        names = layout.columns or self._names
        present = frozenset(names)
        wanted = tuple(filter(present.__contains__, self._names))
        if len(present) != len(names) or not wanted or not self._required <= present:
            return None
        try:
            return self._build(table, layout.orient, names, wanted, guess_dates)
        except (OverflowError, TypeError, ValueError):
            return None

    def _build(
        self,
        table: Any,
        orient: str,
        names: tuple[Any, ...],
        wanted: tuple[Any, ...],
        guess_dates: bool,
    ) -> pd.DataFrame:
        # A copy, because a model may give it a name.
        index = self._index.view() if wanted == self._names else self._signature.index_of(wanted)
        types = [self._types[name] for name in wanted]
        uniform = types[0] in _ARRAY_CODES and len({*types}) == 1
        if uniform and orient == "rows" and names == wanted:
            with suppress(TypeError):
                return _of_block(_block(types[0], table).T, index)
        columns = dict(zip(names, columns_of(table, orient), strict=True))
        values = [columns[name] for name in wanted]
        if uniform:
            with suppress(TypeError):
                return _of_block(_block(types[0], values), index)
        arrays = [
            _array(self._columns[name], column, guess_dates)
            for name, column in zip(wanted, values, strict=True)
        ]
        if len(arrays) == 1:
            return pd.DataFrame(arrays[0], columns=index, copy=False)
        frame = pd.DataFrame(dict(enumerate(arrays)))
        frame.columns = index
        return frame


def _block(type_: DataType, lines: Sequence[Sequence[Any]]) -> Any:
    """Make an array of numbers, with a row for each of `lines`."""
    numbers = array(_ARRAY_CODES[type_], [*chain.from_iterable(lines)])
    return np.frombuffer(numbers, dtype=type_.to_numpy()).reshape(len(lines), -1)


def _of_block(block: Any, index: "pd.Index[Any]") -> pd.DataFrame:
    """Make a frame of an array of shape (columns, rows), in the memory order of MLflow's.

    The order decides in which order a model's own arithmetic adds up, and thus the last digit.
    """
    return pd.DataFrame(np.ascontiguousarray(block).T, columns=index, copy=False)


def _array(column: Column, values: Sequence[Any], guess_dates: bool) -> Any:
    """Make one column; raises `TypeError` where only MLflow knows how."""
    type_ = column.type
    if type_ in _ARRAY_CODES:
        with suppress(TypeError):
            return _block(type_, [values])[0]
    if kind_of(values) in _FITTING.get(type_, ()):
        if type_ is DataType.string:
            return pd.array(values, dtype=TEXT)
        return np.array(values, dtype=type_.to_numpy())
    array = own_array(column, values, guess_dates)
    if array is None:
        raise TypeError
    return array
