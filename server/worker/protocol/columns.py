"""Frames of which some columns are made here and the others by MLflow."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import ColSpec, DataType, Schema

from .errors import InvalidInput
from .parsing import GUESSED_DATES, INPUTS, INSTANCES, SPLIT
from .signature import InputSignature
from .tables import columns_of, layout_of
from .values import Misfit, own_array, own_series

_Columns = dict[Any, Sequence[Any]]


class ColumnBuilder:
    """Builds frames column by column where MLflow would refuse or spoil one: see `values`."""

    def __init__(self, signature: InputSignature) -> None:
        self._signature = signature
        self._declared = signature.columns
        self._required = frozenset(signature.required)
        self._all_scalars = all(
            isinstance(column.type, DataType) for column in self._declared.values()
        )
        self._concerned = any(
            not column.required or column.type in (DataType.datetime, DataType.binary)
            for column in self._declared.values()
        )

    def of_json(self, format_: str, payload: Any) -> pd.DataFrame | None:
        """Return the frame of a table in JSON, `None` where MLflow makes it well.

        Raises:
            InvalidInput: a column of the signature stands there twice.
            Misfit, MlflowException: a value can't be converted.
        """
        if format_ == SPLIT and self._signature.named:
            self._refuse_doubles(payload)
        if not self._concerned:
            return None
        columns, ragged = self._columns(format_, payload)
        if not columns or not columns.keys() >= self._required:
            return None
        guess = format_ in GUESSED_DATES
        made = ((name, own_array(self._declared[name], columns[name], guess)) for name in columns)
        own = {name: array for name, array in made if array is not None}
        # Of `instances` and `inputs` MLflow takes rows that lack a key only by chance.
        if not own and not (ragged and format_ in (INSTANCES, INPUTS)):
            return None
        rest = {name: values for name, values in columns.items() if name not in own}
        index = payload.get("index") if format_ == SPLIT else None
        frame = self._frame(own, self._theirs(format_, rest) if rest else None)
        return frame if index is None else frame.set_axis(index)

    def of_frame(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        """Return the frame that came as CSV or Parquet, `None` where MLflow takes it well.

        Raises:
            Misfit, MlflowException: a value can't be converted.
        """
        texts = [*map(str, self._signature.texts_of(frame.columns.tolist()))]
        if not self._signature.named or len({*texts}) != len(texts):
            return None
        # Parquet may have numbers for names.
        numbered = any(not isinstance(name, str) for name in frame.columns)
        frame = frame.set_axis(texts, axis="columns")
        present = [name for name in self._declared if name in frame]
        made = ((name, self._own_series(name, frame[name])) for name in present)
        own = {name: array for name, array in made if array is not None}
        if not own and not numbered and not self._signature.labels:
            return None
        rest = [name for name in self._declared if name not in own]
        theirs = _enforce_schema(frame, self._schema(rest)) if rest else None
        return self._frame(own, theirs).set_axis(frame.index)

    def _own_series(self, name: Any, series: "pd.Series[Any]") -> Any | None:
        try:
            return own_series(self._declared[name], series)
        except Misfit as error:
            raise Misfit(f"column '{name}': {error}") from error

    def labelled(self, data: Any) -> pd.DataFrame:
        """Return the frame that MLflow makes of an input that it has parsed, with the labels that
        the columns have in the signature.

        Raises:
            MlflowException: it does not fit the signature.
        """
        return self._frame({}, _enforce_schema(data, self._schema(self._declared)))

    def _refuse_doubles(self, payload: Any) -> None:
        names = payload.get("columns") if type(payload) is dict else None
        if type(names) is list and len(names) > 1:
            texts = Counter(name for name in names if isinstance(name, str))
            for name in self._declared:
                if texts[name] > 1:
                    raise InvalidInput(f"'{SPLIT}' has {texts[name]} columns '{name}'")

    def _columns(self, format_: str, payload: Any) -> tuple[_Columns, bool]:
        """Return the columns of the signature in a table, and whether some rows lack a key.

        There are none if it isn't a table, or a row lacks what is required.
        """
        names = None
        if format_ == SPLIT:
            if type(payload) is not dict or not payload.keys() <= {"columns", "data", "index"}:
                return {}, False
            names, payload = payload.get("columns"), payload.get("data")
        elif type(payload) is list and {*map(type, payload)} == {dict}:
            return self._columns_of_records(payload)
        elif type(payload) is str:
            payload = [payload]
        layout = layout_of(payload, names)
        # Where the signature has arrays, the list under a name is one cell.
        if layout is None or (layout.orient == "columns" and not self._all_scalars):
            return {}, False
        names = layout.columns or [*self._declared]
        values = [*columns_of(payload, layout.orient)]
        if len({*names}) != len(values):
            return {}, False
        table = dict(zip(names, values, strict=True))
        return {name: table[name] for name in self._declared if name in table}, False

    def _columns_of_records(self, records: list[dict[str, Any]]) -> tuple[_Columns, bool]:
        keys = [*map(dict.keys, records)]
        some = {*keys[0]}.union(*keys)
        ragged = any(len(one) != len(some) for one in keys)
        if not all(one >= self._required for one in keys):
            return {}, ragged
        return {
            name: [row.get(name) for row in records] for name in self._declared if name in some
        }, ragged

    def _theirs(self, format_: str, columns: _Columns) -> pd.DataFrame:
        """Return what MLflow makes of columns that came in a format."""
        rows = zip(*columns.values(), strict=True)
        document: dict[str, Any]
        if format_ not in (INSTANCES, INPUTS) or not self._signature.named:
            document = {SPLIT: {"columns": [*columns], "data": [*map(list, rows)]}}
        elif self._all_scalars:
            document = {format_: columns}
        else:
            document = {format_: [dict(zip(columns, row, strict=True)) for row in rows]}
        schema = self._schema(columns)
        frame: pd.DataFrame = _enforce_schema(infer_and_parse_data(document, schema), schema)
        return frame

    def _schema(self, names: Iterable[Any]) -> Schema:
        name_of = str if self._signature.named else lambda _: None
        declared = ((name, self._declared[name]) for name in names)
        return Schema(
            [ColSpec(type_, name_of(name), required) for name, (type_, required) in declared]
        )

    def _frame(self, own: dict[Any, Any], theirs: Any) -> pd.DataFrame:
        """Put columns together, in the order of the signature."""
        present = {*own, *(() if theirs is None else theirs.columns)}
        names = [name for name in self._declared if name in present]
        frame = theirs
        if own or frame is None:
            arrays = [own[name] if name in own else theirs[name].array for name in names]
            frame = pd.DataFrame(dict(enumerate(arrays)))
        labelled: pd.DataFrame = frame.set_axis(self._signature.index_of(names), axis="columns")
        return labelled
