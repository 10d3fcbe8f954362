"""From a `Request` to what the model is called with."""

import copy
from itertools import chain
from typing import Any

import pandas as pd
from mlflow.environment_variables import MLFLOW_DISABLE_SCHEMA_DETAILS
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import DataType

from ..codecs import FORMATS
from .columns import ColumnBuilder
from .costs import only, shape_of, shape_of_layout, shape_of_split
from .dataframes import FrameBuilder
from .errors import InvalidInput, describe
from .openai import CODECS
from .parsing import GUESSED_DATES, INPUTS, INSTANCES, SPLIT, Request
from .signature import InputSignature
from .tensors import TensorBuilder

_TENSOR_FORMATS = frozenset({INSTANCES, INPUTS})

# An array of text made of a body this small takes some tens of megabytes at most.
_SMALL_BODY = 10_000
# No body this small is more than a million cells.
_SMALL_TABLE = 4096
_MOST_ARRAY_BYTES = 1 << 30
_ARRAY_BYTES_ANYWAY = 1 << 28
_ARRAY_BYTES_PER_BYTE = 16
_BYTES_PER_CHARACTER = 4
# Whose texts may be long.
_LONG_TYPES = frozenset({str, dict})


class InputBuilder:
    """Builds the input that MLflow's scoring server would hand to the model, faster if it can."""

    def __init__(self, signature: InputSignature) -> None:
        schema: Any = signature.schema
        self._schema = schema
        self._labelled = bool(signature.labels)
        self._as_it_is = signature.from_type_hint
        self._budget = signature.budget
        self._names = frozenset(signature.columns) if signature.named else frozenset()
        self._frames: FrameBuilder | None = None
        self._columns: ColumnBuilder | None = None
        self._tensors: TensorBuilder | None = None
        if signature.from_type_hint:
            return
        if signature.columns:
            self._columns = ColumnBuilder(signature)
            if all(isinstance(type_, DataType) for type_ in schema.input_types()):
                self._frames = FrameBuilder(signature)
        elif schema is None or schema.is_tensor_spec():
            self._tensors = TensorBuilder.of(schema)

    def build(self, request: Request) -> tuple[Any, bool]:
        """Return the model's input, and whether it is as the schema's enforcement would leave it.

        Raises:
            InvalidInput, Misfit, MlflowException: the payload can't be converted.
        """
        if request.format not in FORMATS:
            return self._of_others(request)
        if self._as_it_is:
            # The model gets this very value. One that changes its input and then fails must not
            # spoil it for the requests that were merged into this one.
            return copy.deepcopy(request.payload) if request.merge_key else request.payload, False
        frame = self._frame(request)
        if frame is not None:
            return frame, True
        tensors = self._of_tensors(request)
        return (tensors, False) if tensors is not None else self._of_any(request)

    def _of_tensors(self, request: Request) -> Any | None:
        """Return the arrays if they can be made in one step."""
        if self._tensors is None or request.format not in _TENSOR_FORMATS:
            return None
        if self._tensors.has_text and request.size > _SMALL_BODY:
            _refuse_huge_text_arrays(request.payload, request.size)
        return self._tensors.build(request.format, request.payload)

    def _of_any(self, request: Request) -> tuple[Any, bool]:
        """Return the input for a payload that may be anything."""
        if request.size > _SMALL_BODY and request.format in _TENSOR_FORMATS:
            _refuse_huge_text_arrays(request.payload, request.size)
        if self._columns is not None or request.format not in _TENSOR_FORMATS:
            # Of any other format MLflow makes arrays, which are no larger than what they hold.
            request = self._within_budget(request)
        if self._columns is not None:
            frame = self._columns.of_json(request.format, request.payload)
            if frame is not None:
                return frame, True
        data = infer_and_parse_data({request.format: request.payload}, self._schema)
        if self._columns is not None and self._labelled:
            return self._columns.labelled(data), True
        if request.size > _SMALL_BODY and self._schema is not None:
            return self._enforced(data)
        return data, False

    def _enforced(self, data: Any) -> tuple[Any, bool]:
        """Do what `_validate_prediction_input` does (mlflow/pyfunc/__init__.py), which would write
        the whole input into the message of a refusal, unless that is to hold no details.

        Raises:
            MlflowException: the input does not fit the schema.
        """
        if MLFLOW_DISABLE_SCHEMA_DETAILS.get():  # type: ignore[no-untyped-call]
            return data, False
        try:
            return _enforce_schema(data, self._schema), True
        except Exception as error:
            raise MlflowException.invalid_parameter_value(describe(error)) from error

    def _of_others(self, request: Request) -> tuple[Any, bool]:
        """Return the input for a frame that came as it is, for an object without a format, and for
        one of OpenAI's."""
        if request.format in CODECS:
            # The models' wrappers change it (mlflow/pyfunc/loaders/chat_model.py).
            return dict(request.payload), True
        frame = None
        if self._columns is not None and isinstance(request.payload, pd.DataFrame):
            frame = self._columns.of_frame(request.payload)
        elif self._columns is not None:
            request = self._within_budget(request)
        return (request.payload, False) if frame is None else (frame, True)

    def _within_budget(self, request: Request) -> Request:
        """Return the request, without columns that the signature doesn't know if it has too many.

        MLflow drops these, too, but from the frame.

        Raises:
            InvalidInput: the frame would be too large all the same.
        """
        if request.size <= _SMALL_TABLE:
            return request
        payload, split = request.payload, request.format == SPLIT
        if request.layout is not None:
            shape = shape_of_layout(request.table, request.layout)
        else:
            shape = shape_of_split(payload) if split else shape_of(payload)
        if self._budget.holds(*shape, request.size):
            return request
        if self._names and not split:
            payload = only(self._names, payload)
            shape = shape_of(payload)
        self._budget.refuse_beyond(*shape, request.size)
        return request._replace(payload=payload)

    def _frame(self, request: Request) -> pd.DataFrame | None:
        """Return the frame if it can be made in one step."""
        if request.layout is None or self._frames is None:
            return None
        frame = self._frames.build(request.table, request.layout, request.format in GUESSED_DATES)
        if frame is not None and request.format == SPLIT:
            index = request.payload.get("index")
            if index is not None:
                frame.index = pd.Index(index)
        return frame


def _refuse_huge_text_arrays(payload: Any, size: int) -> None:
    """Refuse what would take far more memory than the body, of `size` bytes, does.

    MLflow makes numpy arrays of text, in which every cell has room for the longest. Under a column
    of strings these are the texts of objects, too.
    """
    most = min(_MOST_ARRAY_BYTES, _ARRAY_BYTES_ANYWAY + _ARRAY_BYTES_PER_BYTE * size)
    arrays = payload.values() if isinstance(payload, dict) else [_cells_of_records(payload)]
    for array in arrays:
        cells, longest = _cells_and_longest_text(array)
        if cells * longest * _BYTES_PER_CHARACTER > most:
            raise InvalidInput(
                f"an array of {cells} texts, each with room for the longest of {longest} "
                f"characters, is too large: send fewer, or send them as '{SPLIT}'"
            )


def _cells_of_records(rows: Any) -> Any:
    """Return the cells of rows that are objects; of others, the rows."""
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        return [cell for row in rows if isinstance(row, dict) for cell in row.values()]
    return rows


def _cells_and_longest_text(array: Any) -> tuple[int, int]:
    cells = longest = 0
    # A whole level of nested lists at a time: there may be a million numbers.
    level = [array]
    while level:
        types = {*map(type, level)}
        lists = level if types == {list} else [value for value in level if type(value) is list]
        if len(lists) < len(level):
            others = level if not lists else [v for v in level if type(v) is not list]
            cells += len(others)
            if not types.isdisjoint(_LONG_TYPES):
                longest = max(longest, max(map(_length_as_text, others)))
        level = [*chain.from_iterable(lists)]
    return cells, longest


def _length_as_text(value: Any) -> int:
    """Return roughly how many characters the text of a JSON value has that isn't a list."""
    if type(value) is str:
        return len(value)
    length = 0
    rest: list[Any] = [value] if isinstance(value, dict) else []
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest.extend(chain.from_iterable(item.items()))
        elif isinstance(item, list):
            rest.extend(item)
        length += len(item) if isinstance(item, str) else 2
    return length
