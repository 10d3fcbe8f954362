"""The data frame that MLflow would make of a table, made in one step."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType, Schema

from server.worker.protocol.tables import Kind, Layout, columns_of

# What pandas makes of text: `str` from pandas 3, `object` before.
_TEXT: Any = pd.Series(["text"]).dtype


def _kinds(*types: type) -> frozenset[Kind]:
    mixed = (frozenset(some) for count in (2, 3) for some in combinations(types, count))
    return frozenset((*types, *mixed))


# The kinds from which MLflow makes a column of the signature's own dtype, and the same one from
# every format: by `np.array` in `convert_data_type` and by `astype` in
# `cast_df_types_according_to_schema` (mlflow/utils/proto_json_utils.py). Integers for a float are
# not among them: the two round large ones differently.
_FITTING: dict[DataType, frozenset[Kind]] = {
    DataType.boolean: _kinds(bool),
    DataType.integer: _kinds(int),
    DataType.long: _kinds(int),
    DataType.float: _kinds(float, type(None)),
    DataType.double: _kinds(float, int, type(None)),
    DataType.string: _kinds(str),
    DataType.binary: frozenset(),
    DataType.datetime: frozenset(),
}


class FrameBuilder:
    """Builds frames for a signature of columns of scalars.

    MLflow converts and copies such a frame column by column, and twice: when it parses the input
    and when it enforces the schema. The outcome is the same.
    """

    def __init__(self, schema: Schema) -> None:
        # An unnamed column goes by its place.
        self._names: tuple[Any, ...] = tuple(schema.input_names())
        self._index = pd.Index(self._names)
        self._types: dict[Any, Any] = dict(zip(self._names, schema.input_types(), strict=True))
        self._required = frozenset(schema.required_input_names())

    def build(self, table: Any, layout: Layout) -> pd.DataFrame | None:
        """Return the frame, or `None` where MLflow's way is needed, to convert or to refuse."""
        names = layout.columns or self._names
        kinds = dict(zip(names, layout.kinds, strict=False))
        if not len(kinds) == len(names) == len(layout.kinds):
            return None
        wanted = tuple(name for name in self._names if name in kinds)
        if not wanted or not self._required.issubset(wanted):
            return None
        types = [self._types[name] for name in wanted]
        if not all(
            kinds[name] in _FITTING[type_] for name, type_ in zip(wanted, types, strict=True)
        ):
            return None
        # A copy, because a model may give it a name.
        index = self._index.view() if wanted == self._names else pd.Index(wanted)
        try:
            if len({*types}) == 1 and DataType.string not in types:
                dtype = types[0].to_numpy()
                if layout.orient == "rows" and names == wanted:
                    return _of_block(np.array(table, dtype=dtype).T, index)
                columns = dict(zip(names, columns_of(table, layout.orient), strict=True))
                return _of_block(np.array([columns[name] for name in wanted], dtype=dtype), index)
            columns = dict(zip(names, columns_of(table, layout.orient), strict=True))
            return _of_columns([_array(columns[name], self._types[name]) for name in wanted], index)
        except (OverflowError, ValueError):
            # An integer that is too large for its column.
            return None


def _of_block(block: np.ndarray[Any, Any], index: "pd.Index[Any]") -> pd.DataFrame:
    """Make a frame of an array of shape (columns, rows), in the memory order of MLflow's.

    The order decides in which order a model's own arithmetic adds up, and thus the last digit.
    """
    return pd.DataFrame(np.ascontiguousarray(block).T, columns=index, copy=False)


def _of_columns(arrays: list[Any], index: "pd.Index[Any]") -> pd.DataFrame:
    if len(arrays) == 1:
        return pd.DataFrame(arrays[0], columns=index, copy=False)
    frame = pd.DataFrame(dict(enumerate(arrays)))
    frame.columns = index
    return frame


def _array(values: Sequence[Any], type_: DataType) -> Any:
    if type_ is DataType.string:
        return pd.array(values, dtype=_TEXT)
    return np.array(values, dtype=type_.to_numpy())
