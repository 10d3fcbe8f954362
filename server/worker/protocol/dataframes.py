"""The data frame that MLflow would make of a table, made in one step."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType, Schema

from server.worker.protocol.tables import Kind, Layout, columns_of

# What pandas makes of text: `str` from pandas 3, `object` before.
_TEXT = pd.Series(["text"]).dtype


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
    """Builds frames for a signature of named columns of scalars.

    MLflow converts and copies such a frame column by column, and twice: when it parses the input
    and when it enforces the schema. The outcome is the same.
    """

    def __init__(self, schema: Schema) -> None:
        self._specs: list[Any] = schema.inputs
        self._names = tuple(str(name) for name in schema.input_names())
        self._index = pd.Index(self._names)

    def build(self, table: Any, layout: Layout) -> pd.DataFrame | None:
        """Return the frame, or `None` where MLflow's way is needed, to convert or to refuse."""
        names = layout.columns or self._names
        kinds = dict(zip(names, layout.kinds, strict=False))
        if not len(kinds) == len(names) == len(layout.kinds):
            return None
        specs = [spec for spec in self._specs if spec.required or spec.name in kinds]
        if not specs or not all(kinds.get(spec.name) in _FITTING[spec.type] for spec in specs):
            return None
        try:
            return self._build(table, layout.orient, names, specs)
        except (OverflowError, ValueError):
            return None

    def _build(
        self, table: Any, orient: str, names: Sequence[str], specs: list[Any]
    ) -> pd.DataFrame:
        wanted = tuple(spec.name for spec in specs)
        # A copy, because a model may name it.
        index = self._index.view() if wanted == self._names else pd.Index(wanted)
        types = {spec.type for spec in specs}
        numeric = len(types) == 1 and DataType.string not in types
        if numeric and orient == "rows" and names == wanted:
            return _of_block(np.array(table, dtype=_dtype(specs[0])).T, index)
        columns = dict(zip(names, columns_of(table, orient), strict=True))
        if numeric:
            values = [columns[name] for name in wanted]
            return _of_block(np.array(values, dtype=_dtype(specs[0])), index)
        arrays = [pd.array(columns[spec.name], dtype=_dtype(spec)) for spec in specs]
        if len(arrays) == 1:
            return pd.DataFrame(arrays[0], columns=index, copy=False)
        return pd.DataFrame(dict(zip(wanted, arrays, strict=True)))


def _of_block(block: np.ndarray[Any, Any], index: "pd.Index[str]") -> pd.DataFrame:
    """Make a frame of an array of shape (columns, rows), in the memory order of MLflow's.

    The order decides in which order a model's own arithmetic adds up, and thus the last digit.
    """
    return pd.DataFrame(np.ascontiguousarray(block).T, columns=index, copy=False)


def _dtype(spec: Any) -> Any:
    return _TEXT if spec.type is DataType.string else spec.type.to_numpy()
