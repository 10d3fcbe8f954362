"""From a request's bytes to a `Request`."""

from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

import orjson
from mlflow.pyfunc.utils.serving_data_parser import SUPPORTED_LLM_FORMATS

from ..codecs import FORMATS, LARGEST_MERGED_BODY
from .bodies import CSV, JSON, media_type, read_csv, read_json, read_parquet
from .errors import InvalidInput
from .signature import InputSignature
from .tables import (
    SCALARS,
    Kind,
    Layout,
    kind_of_block,
    kinds_of,
    layout_of,
    of_arrays,
    of_numbers,
)

SPLIT = "dataframe_split"
RECORDS = "dataframe_records"
INSTANCES = "instances"
INPUTS = "inputs"

# In these MLflow takes dates in whichever way pandas can read them.
GUESSED_DATES = frozenset({SPLIT, RECORDS})

_NUMBERS = frozenset({int, float})
_CELLS: frozenset[Kind] = frozenset({list, dict})

_EXPECTED = (
    f"body must be a JSON object with exactly one of '{SPLIT}', '{RECORDS}', '{INSTANCES}' "
    f"and '{INPUTS}'"
)


class MergeKey(NamedTuple):
    """What requests that are merged have in common.

    Attributes:
        format: Of the requests.
        outline: Layout and params.
        kinds: What stands in each column, or in the whole of an array.
    """

    format: str
    outline: Hashable
    kinds: tuple[Kind, ...]


class Request(NamedTuple):
    """One parsed request, or several merged ones.

    Attributes:
        format: One of `FORMATS`, "csv", "parquet", "unified", or a name of `server.worker.codecs`.
        payload: The JSON value under the format's key; for "unified" the whole object without
            parameters; a `DataFrame` for CSV and Parquet.
        params: Parameters for the model, as they came.
        rows: The number of rows, `None` if the payload isn't made of rows.
        merge_key: Requests with equal keys may be merged; `None` never. Those that differ in some
            kinds only may be, too, if the model answers them as it does alone.
        layout: How the table in the payload is laid out, if it is one that orjson read.
        size: The length of the body, in bytes.
        stream: Whether it asks for its answer in chunks.
        model: What the client calls the model, where the answer is to say it again.
    """

    format: str
    payload: Any
    params: dict[str, Any] | None
    rows: int | None
    merge_key: MergeKey | None
    layout: Layout | None = None
    size: int = 0
    stream: bool = False
    model: str = ""

    @property
    def table(self) -> Any:
        """The part of a JSON payload that holds the rows."""
        return self.payload["data"] if self.format == SPLIT else self.payload


def parse(content_type: str, body: bytes, signature: InputSignature) -> Request:
    """Parse a request.

    Raises:
        InvalidInput: the content type, the body's syntax or its top level isn't MLflow's.
    """
    media = media_type(content_type)
    if media == JSON:
        return _parse_json(body, signature)
    if media == CSV:
        frame = read_csv(body, signature.columns, signature.budget, by_place=signature.unnamed)
        return Request("csv", frame, None, len(frame), None)
    frame = read_parquet(body, signature.budget)
    return Request("parquet", frame, None, len(frame), None)


def _parse_json(body: bytes, signature: InputSignature) -> Request:
    document, plain = read_json(body)
    if type(document) is not dict:
        raise InvalidInput(f"{_EXPECTED}; it is {json_type(document)}")
    stream = document.get("stream") is True
    if not SUPPORTED_LLM_FORMATS.isdisjoint(document):
        names = [key for key in document if key in signature.param_names]
        given = {key: document.pop(key) for key in names}
        return Request("unified", document, given, None, None, size=len(body), stream=stream)
    format_ = _format_of(document, signature)
    payload = _with_columns(format_, document[format_], signature.scalar_columns)
    params = document.get("params")
    layout = _layout(format_, payload) if plain else None
    if layout is None and format_ == SPLIT and signature.named:
        payload = _with_text_for_names(payload, signature)
        layout = _layout(format_, payload) if plain else None
    merge_key = None
    small = len(body) <= LARGEST_MERGED_BODY
    if layout is not None and small and not stream:
        merge_key = _merge_key(format_, payload, layout, params, signature)
    rows = _rows(format_, payload)
    return Request(format_, payload, params, rows, merge_key, layout, len(body), stream)


def _format_of(document: dict[str, Any], signature: InputSignature) -> str:
    formats = FORMATS.intersection(document)
    if signature.from_type_hint and INPUTS in formats:
        # MLflow does not look at the others then.
        return INPUTS
    if len(formats) != 1:
        raise InvalidInput(f"{_EXPECTED}; it has {' and '.join(sorted(formats)) or 'none of them'}")
    (format_,) = formats
    if signature.from_type_hint and format_ in (SPLIT, RECORDS):
        raise InvalidInput(f"this model takes its input under the key '{INPUTS}', not '{format_}'")
    return format_


def _with_columns(format_: str, payload: Any, names: Collection[str] | None) -> Any:
    """Name the columns of rows that come as lists in the signature's order.

    MLflow refuses these, except that for a single column of strings it makes each row's list the
    value of its cell. A single scalar is one row.
    """
    if names is None or format_ == RECORDS:
        return payload
    if format_ == SPLIT:
        unnamed = type(payload) is dict and payload.get("columns") is None
        if unnamed and _are_rows(payload.get("data"), len(names)):
            return {**payload, "columns": list(names)}
        return payload
    if type(payload) is list:
        if _are_rows(payload, len(names)):
            return dict(zip(names, map(list, zip(*payload, strict=True)), strict=True))
    elif type(payload) is dict:
        if SCALARS.issuperset(map(type, payload.values())):
            return {name: [value] for name, value in payload.items()}
    elif len(names) == 1 and payload is not None:
        return [payload]
    return payload


def _are_rows(table: Any, width: int) -> bool:
    if type(table) is not list or not table or type(table[0]) is not list:
        return False
    return {*map(type, table)} == {list} and {*map(len, table)} == {width}


def _with_text_for_names(payload: Any, signature: InputSignature) -> Any:
    """Write names of columns that are numbers as text, as which they stand in all other formats."""
    names = payload.get("columns") if type(payload) is dict else None
    if type(names) is not list or _NUMBERS.isdisjoint(map(type, names)):
        return payload
    return {**payload, "columns": signature.texts_of(names)}


def _layout(format_: str, payload: Any) -> Layout | None:
    if format_ in (INSTANCES, INPUTS):
        return layout_of(payload)
    if format_ == RECORDS:
        layout = layout_of(payload)
        return layout if layout and layout.orient == "records" else None
    if type(payload) is not dict or not payload.keys() <= {"columns", "data", "index"}:
        return None
    # With an index of the client's own, pandas may match rows by it. One that counts the rows is
    # what pandas writes for a frame that has none: `DataFrame.to_dict(orient="split")`.
    data, index = payload.get("data"), payload.get("index")
    if index is not None and not (type(data) is list and _counts(index, len(data))):
        return None
    layout = layout_of(data, payload.get("columns"))
    return layout if layout and layout.orient == "rows" else None


def _counts(index: Any, rows: int) -> bool:
    return index == [*range(rows)] and {*map(type, index)} == {int}


def _rows(format_: str, payload: Any) -> int | None:
    table = payload.get("data") if format_ == SPLIT and type(payload) is dict else payload
    if type(table) is list:
        return len(table)
    if type(table) is dict and {*map(type, table.values())} == {list}:
        lengths = {*map(len, table.values())}
        return lengths.pop() if len(lengths) == 1 else None
    return None


def _merge_key(
    format_: str, payload: Any, layout: Layout, params: Any, signature: InputSignature
) -> MergeKey | None:
    # A list of objects under `inputs` is converted object by object.
    by_row = format_ in (SPLIT, RECORDS) or (format_ == INPUTS and layout.orient == "records")
    if not signature.stacks(cells=by_row):
        return None
    table = payload["data"] if format_ == SPLIT else payload
    kinds: tuple[Kind, ...] | None
    if layout.orient == "rows" and format_ != SPLIT and not signature.columns:
        block = kind_of_block(table)
        kinds = None if block is None else (block,)
    else:
        cells = signature.from_type_hint or (by_row and not signature.has_tensors)
        kinds = kinds_of(table, layout.orient, cells=cells)
        if kinds is not None and signature.columns:
            kinds = signature.kinds_in(kinds, layout, table)
        elif kinds is not None and not cells:
            kinds = of_arrays(kinds)
    if kinds is not None and signature.numeric:
        kinds = of_numbers(kinds)
    if kinds is None or not (_CELLS.isdisjoint(kinds) or _can_be_written(table)):
        return None
    counted = format_ == SPLIT and payload.get("index") is not None
    if params is None:
        return MergeKey(format_, (layout, counted), kinds)
    try:
        # As JSON text, 1, 1.0 and true differ.
        return MergeKey(format_, (layout, counted, orjson.dumps(params)), kinds)
    except orjson.JSONEncodeError:
        return None


def _can_be_written(table: Any) -> bool:
    """Whether cells are not nested more deeply than orjson writes: rows are told apart by that."""
    try:
        orjson.dumps(table)
    except orjson.JSONEncodeError:
        return False
    return True


def json_type(value: Any) -> str:
    """Return the name of a JSON value's type, with an article."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")
