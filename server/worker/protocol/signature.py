"""What a model's signature says about its input, looked up once."""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import pandas as pd
from mlflow.pyfunc import PyFuncModel
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import TensorSpec

from .costs import Budget
from .tables import Kind, LargeInteger, Layout, columns_of

_NUMBERS = frozenset({int, float})
_CONVERTED: frozenset[Kind] = frozenset({int, LargeInteger, str})

# Those of ISO 8601 that each can be read by itself.
_ISO_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII
)


class Column(NamedTuple):
    """A column of a signature.

    Attributes:
        type: A `DataType`, or MLflow's array, object, map or any.
        required: Whether every input must have it, without missing values.
    """

    type: Any
    required: bool


@dataclass(frozen=True, slots=True)
class InputSignature:
    """The input side of a model's signature.

    JSON and CSV have text for names, so columns go by it everywhere but in the frame that the
    model gets: a signature of `DataFrame(ndarray)` names them with the integers 0, 1, 2.

    Attributes:
        schema: The columns, named with text, or the tensors; `None` if the model declares none.
        columns: The columns in order, an unnamed one by its place; empty if there are only tensors.
        labels: What the signature itself calls the columns, where that isn't text; else empty.
        param_names: The names of the parameters that it declares.
        from_type_hint: The signature comes from a type hint of `predict`; MLflow then hands the
            JSON under `inputs` on as it is, and validates it inside `predict`.
        scalar_columns: Each column, if they are named and hold scalars, in the order that rows
            without names have them in.
        stackable: Rows are converted one by one in every format, so that those of several
            requests may be stacked without changing what the model gets for each.
        has_tensors: It declares tensors.
        numeric: It declares tensors, all of them of numbers.
        converting: The columns that get the same from values of several JSON types, or whose values
            must be looked at to tell whether each is converted by itself.
        budget: How large a frame a request may become.
    """

    schema: Schema | None
    columns: dict[Any, Column]
    labels: dict[str, Any]
    param_names: frozenset[str]
    from_type_hint: bool
    scalar_columns: dict[str, Column] | None
    stackable: bool
    has_tensors: bool
    numeric: bool
    converting: frozenset[Any]
    budget: Budget

    @classmethod
    def of(cls, model: PyFuncModel) -> "InputSignature":
        """Read the signature of a loaded model."""
        metadata: Any = model.metadata
        declared: Schema | None = metadata.get_input_schema()
        labels = _labels(declared)
        schema = _named_with_text(declared) if declared and labels else declared
        columns = _columns(schema)
        params = metadata.get_params_schema()
        from_type_hint: bool = metadata._is_signature_from_type_hint()
        return cls(
            schema=schema,
            columns=columns,
            labels=labels,
            param_names=frozenset(spec.name for spec in params.params) if params else frozenset(),
            from_type_hint=from_type_hint,
            scalar_columns=_scalar_columns(columns, labels),
            stackable=_stackable(schema, from_type_hint),
            has_tensors=schema is not None and schema.is_tensor_spec(),
            numeric=schema is not None
            and schema.is_tensor_spec()
            and all(spec.type.kind in "iuf" for spec in cast("list[TensorSpec]", schema.inputs)),
            converting=_converting(columns),
            budget=Budget(columns),
        )

    @property
    def named(self) -> bool:
        """Whether the columns have names, all of them text."""
        return bool(self.columns) and all(isinstance(name, str) for name in self.columns)

    @property
    def unnamed(self) -> bool:
        """Whether the columns have no names: they are the first of the input then."""
        return bool(self.columns) and [*self.columns] == [*range(len(self.columns))]

    def knows(self, name: str) -> bool:
        """Whether it has such a column or parameter."""
        return name in self.columns or name in self.param_names

    @property
    def required(self) -> list[Any]:
        """The names of the columns that every input must have."""
        return [name for name, column in self.columns.items() if column.required]

    def stacks(self, *, cells: bool) -> bool:
        """Whether the rows of several requests may be stacked.

        Args:
            cells: Whether the format leaves each value of a row by itself, rather than make one
                array of a column.
        """
        return self.stackable or (cells and bool(self.columns))

    def kinds_in(
        self, kinds: tuple[Kind, ...], layout: Layout, table: Any
    ) -> tuple[Kind, ...] | None:
        """Return the kinds of a table's columns as far as they matter once the columns have been
        converted to what is declared; `None` if they are converted with a look at other rows.

        Args:
            kinds: As `server.worker.protocol.tables.kinds_of` tells them.
        """
        if not self.converting or _CONVERTED.isdisjoint(kinds):
            return kinds
        names = layout.columns or tuple(self.columns)
        if len(names) != len(kinds):
            return kinds
        found = dict(zip(names, kinds, strict=True))
        for name in self.converting & found.keys():
            column, kind = self.columns[name], found[name]
            if column.type is DataType.datetime:
                if kind is str and not all(map(_is_iso_date, _column(table, layout, names, name))):
                    # pandas reads them in the format of the first.
                    return None
            elif kind is int or kind is LargeInteger:
                found[name] = float
        return (*found.values(),) if len(found) == len(kinds) else None

    def texts_of(self, names: Iterable[Any]) -> list[Any]:
        """Write names that are numbers as text, as which they stand in JSON and CSV.

        Numbers that are equal name the same column: JavaScript writes 2.0 as 2.
        """
        texts = {label: text for text, label in self.labels.items()}
        return [texts.get(name, str(name)) if type(name) in _NUMBERS else name for name in names]

    def index_of(self, names: Iterable[Any]) -> "pd.Index[Any]":
        """Return the labels of columns, as the model knows them."""
        index: pd.Index[Any] = pd.Index([self.labels.get(name, name) for name in names])
        return index


def _converting(columns: dict[Any, Column]) -> frozenset[Any]:
    # Whole numbers become floats in `double`.
    return frozenset(
        name
        for name, (type_, _) in columns.items()
        if type_ is DataType.double or type_ is DataType.datetime
    )


def _is_iso_date(value: str) -> bool:
    return _ISO_DATE.fullmatch(value) is not None


def _column(table: Any, layout: Layout, names: tuple[Any, ...], name: Any) -> Any:
    columns = columns_of(table, layout.orient)
    return next(itertools.islice(columns, names.index(name), None))


def _labels(schema: Schema | None) -> dict[str, Any]:
    """Return the names that aren't text by their text, unless that is the name of another."""
    if schema is None or schema.is_tensor_spec():
        return {}
    names = [spec.name for spec in schema.inputs if isinstance(spec.name, (str, int, float))]
    labels = dict(zip(map(str, names), names, strict=True))
    if len(labels) != len(schema.inputs) or all(isinstance(name, str) for name in names):
        return {}
    return labels


def _named_with_text(schema: Schema) -> Schema:
    specs: list[Any] = schema.inputs
    return Schema([ColSpec(spec.type, str(spec.name), spec.required) for spec in specs])


def _columns(schema: Schema | None) -> dict[Any, Column]:
    if schema is None or schema.is_tensor_spec():
        return {}
    names = [place if spec.name is None else spec.name for place, spec in enumerate(schema.inputs)]
    # Those of several levels are lists, which MLflow finds in no input.
    if any(isinstance(name, list) for name in names):
        return {}
    columns = (Column(spec.type, spec.required) for spec in schema.inputs)
    return dict(zip(names, columns, strict=True))


def _scalar_columns(columns: dict[Any, Column], labels: dict[str, Any]) -> dict[str, Column] | None:
    if not columns or not all(
        isinstance(name, str) and isinstance(column.type, DataType)
        for name, column in columns.items()
    ):
        return None
    places = [*map(str, range(len(columns)))]
    # A frame made of rows without names calls its columns 0, 1, 2.
    in_place = bool(labels) and labels.keys() == {*places}
    return {name: columns[name] for name in places} if in_place else columns


def _stackable(schema: Schema | None, from_type_hint: bool) -> bool:
    return schema is None or from_type_hint or all(map(_converts_row_by_row, schema.inputs))


def _converts_row_by_row(spec: Any) -> bool:
    if isinstance(spec, TensorSpec):
        return bool(spec.shape) and spec.shape[0] == -1
    # mlflow/models/utils.py: `_enforce_schema` may take a whole list for one cell of an array,
    # object, map or any.
    return isinstance(spec.type, DataType)
