"""Frames of which some columns are made here and the others by MLflow."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Object

from .arrays import arrays_of, lists_of
from .errors import InvalidInput
from .parsing import GUESSED_DATES, INPUTS, INSTANCES, SPLIT
from .signature import InputSignature
from .tables import SCALARS, columns_of, layout_of
from .values import TEXT, Misfit, is_null, own_array, own_series

_Columns = dict[Any, Sequence[Any]]


class ColumnBuilder:
    """Builds frames column by column where MLflow would refuse or spoil one: see `values`."""

    def __init__(self, signature: InputSignature) -> None:
        self._signature = signature
        self._declared = signature.columns
        self._required = frozenset(signature.required)
        self._scalars = frozenset(
            name for name, column in self._declared.items() if isinstance(column.type, DataType)
        )
        self._all_scalars = len(self._scalars) == len(self._declared)
        self._has_lists = any(
            isinstance(column.type, (Array, Object)) for column in self._declared.values()
        )
        self._concerned = any(
            not column.required
            or column.type in (DataType.datetime, DataType.binary)
            or isinstance(column.type, Array)
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
        guess, labels = format_ in GUESSED_DATES, None
        if self._signature.unnamed:
            format_, payload, labels = _by_place(format_, payload, len(self._declared))
        columns, ragged = self._columns(format_, payload)
        if not columns or not columns.keys() >= self._required:
            return None
        made = ((name, self._own_array(format_, name, columns[name], guess)) for name in columns)
        own = {name: array for name, array in made if array is not None}
        # Of `instances` and `inputs` MLflow takes rows that lack a key only by chance.
        if not own and not (ragged and format_ in (INSTANCES, INPUTS)):
            return None
        rest = {name: values for name, values in columns.items() if name not in own}
        index = payload.get("index") if format_ == SPLIT else None
        frame = self._frame(own, self._theirs(format_, rest) if rest else None)
        frame = frame if index is None else frame.set_axis(index)
        return frame if labels is None else frame.set_axis(labels, axis="columns")

    def of_frame(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        """Return the frame that came as CSV or Parquet, `None` where MLflow takes it well.

        Raises:
            Misfit, MlflowException: a value can't be converted.
        """
        if self._signature.unnamed:
            return self._of_frame_by_place(frame)
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

    def _of_frame_by_place(self, frame: pd.DataFrame) -> pd.DataFrame | None:
        width = len(self._declared)
        if len(frame.columns) < width:
            return None
        frame = frame.iloc[:, :width]
        labels = frame.columns
        frame = frame.set_axis([*self._declared], axis="columns")
        made = ((name, self._own_series(name, frame[name])) for name in self._declared)
        own = {name: array for name, array in made if array is not None}
        if not own:
            return None
        rest = [name for name in self._declared if name not in own]
        theirs = _enforce_schema(frame[rest], self._schema(rest)) if rest else None
        return self._frame(own, theirs).set_axis(frame.index).set_axis(labels, axis="columns")

    def _own_array(self, format_: str, name: Any, values: Sequence[Any], guess: bool) -> Any | None:
        column = self._declared[name]
        if isinstance(column.type, Array) and format_ != INSTANCES:
            # Of arrays in the rows of `instances` MLflow makes one row.
            make = arrays_of if format_ == INPUTS else lists_of
            if (array := make(column.type, values)) is not None:
                return array
        array = own_array(column, values, guess)
        if array is not None or column.required or not _spoils_nulls(column.type):
            return array
        nulls = [*map(is_null, values)]
        if not any(nulls):
            return None
        present = [value for value, null in zip(values, nulls, strict=True) if not null]
        kept = iter(self._theirs(format_, {name: present})[name] if present else ())
        cells = pd.Series([None if null else next(kept) for null in nulls], dtype=object)
        texts = column.type is DataType.string and cells.map(type).isin([str, type(None)]).all()
        return cells.astype(TEXT).array if texts else cells.array

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
        elif type(payload) is dict:
            return self._columns_of_object(payload), False
        elif type(payload) is str:
            payload = [payload]
        layout = layout_of(payload, names)
        if layout is None or layout.orient == "columns":
            return {}, False
        names = layout.columns or [*self._declared]
        values = [*columns_of(payload, layout.orient)]
        if len({*names}) != len(values):
            return {}, False
        table = dict(zip(names, values, strict=True))
        return {name: table[name] for name in self._declared if name in table}, False

    def _columns_of_object(self, payload: dict[str, Any]) -> _Columns:
        """Read an object as MLflow does (mlflow/models/utils.py, `_enforce_schema`): as one row, or
        as columns, in which a scalar stands for as many as the others have.

        Raises:
            Misfit: there is a list of binary values in what is one row.
        """
        if self._is_one_row(payload):
            for name in self._scalars & payload.keys():
                if type(payload[name]) not in SCALARS:
                    if self._declared[name].type is DataType.binary:
                        raise Misfit(f"this is one row: column '{name}' takes one base64 string")
                    return {}
            return {name: [payload[name]] for name in self._declared if name in payload}
        lengths = {len(values) for values in payload.values() if type(values) is list} or {1}
        if len(lengths) != 1 or dict in map(type, payload.values()):
            return {}
        (length,) = lengths
        columns = {name: payload[name] for name in self._declared if name in payload and length}
        return {
            name: values if type(values) is list else [values] * length
            for name, values in columns.items()
        }

    def _is_one_row(self, payload: dict[str, Any]) -> bool:
        if self._all_scalars or self._has_lists:
            return not self._all_scalars
        return all(
            {str}.issuperset(map(type, value)) and name not in self._scalars
            for name, value in payload.items()
            if type(value) is list
        )

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
            # Of arrays in the rows of `instances` MLflow makes one row.
            document = {INPUTS: [dict(zip(columns, row, strict=True)) for row in rows]}
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


def _spoils_nulls(type_: Any) -> bool:
    """Tell whether MLflow refuses nulls, or makes text of them, in some formats.

    Those of the other types are no concern of it, or of `own_array`.
    """
    return type_ is DataType.string or not isinstance(type_, (DataType, AnyType))


def _by_place(format_: str, payload: Any, width: int) -> tuple[str, Any, list[Any] | None]:
    """Take the names from the first columns of a table, and return them.

    Returns:
        The format and the payload, and the names; these are `None`, and the others what they were,
        if the table has no names, or the same twice, or too few.
    """
    names: Any = None
    rows: Any = None
    if format_ == SPLIT:
        if type(payload) is dict:
            names, rows = payload.get("columns"), payload.get("data")
            layout = layout_of(rows)
            if layout is None or layout.orient != "rows" or type(names) is not list:
                return format_, payload, None
            if len(names) != len(rows[0]):
                return format_, payload, None
    elif type(payload) is list and {*map(type, payload)} == {dict}:
        names = [*payload[0]]
        if {*map(frozenset, payload)} == {frozenset(names)}:
            rows = [[row[name] for name in names] for row in payload]
    if rows is None or names is None or len(names) < width:
        return format_, payload, None
    if len({*map(repr, names)}) != len(names):
        return format_, payload, None
    others = payload if format_ == SPLIT else {}
    table = {**others, "columns": None, "data": [row[:width] for row in rows]}
    return SPLIT, table, names[:width]
