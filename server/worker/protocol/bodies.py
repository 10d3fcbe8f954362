"""From a body's bytes to JSON values and data frames."""

import json
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO, StringIO
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
from mlflow.types import DataType
from pyarrow import parquet

from .costs import Budget
from .csv_outline import most_rows
from .errors import InvalidInput, describe
from .memory import at_most
from .signature import Column
from .values import binary, dates

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"

_MOST_PARQUET_CELLS = 20_000_000
_MOST_PARQUET_BYTES = 1 << 29
# As much as that smaller than other bodies of the same cells.
_PARQUET_PACKS = 4

# What pandas reads missing values into, where numpy has none.
_NULLABLE = {DataType.boolean: "boolean", DataType.integer: "Int32", DataType.long: "Int64"}

_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19


@lru_cache(maxsize=64)
def media_type(content_type: str) -> str:
    """Return the media type in a `Content-Type` header: `JSON`, `CSV` or `PARQUET`.

    No header (an empty string) means JSON. Names are compared without regard to case, and a value
    may be quoted (RFC 9110, section 8.3.1).

    Raises:
        InvalidInput: 415, for other types, other charsets than UTF-8 and, as MLflow does, other
            parameters.
    """
    name, *parts = (part.strip() for part in content_type.split(";"))
    pairs = (part.partition("=") for part in filter(None, parts))
    # Of several charsets the last counts, as for MLflow.
    parameters = {key.lower(): value for key, _, value in pairs}
    charset = parameters.pop("charset", "utf-8")
    if charset.strip('"').lower() != "utf-8":
        raise InvalidInput(f"charset '{charset}' is not supported: send utf-8", 415)
    for key in parameters:
        raise InvalidInput(f"content type parameter '{key}' is unknown: send charset only", 415)
    name = name.lower() or JSON
    if name not in (JSON, CSV, PARQUET):
        raise InvalidInput(
            f"content type '{name}' is not supported: send {JSON}, {CSV} or {PARQUET}", 415
        )
    return name


def read_json(body: bytes) -> tuple[Any, bool]:
    """Return the JSON value in a body, and whether it is plain.

    MLflow reads JSON with the standard library. orjson reads plain bodies to the same values, and
    faster. What it refuses or reads differently (NaN, lone surrogates, a byte order mark, integers
    beyond 64 bits) is left to the standard library. Also not plain are strings with a NUL, which
    numpy cuts off at the end of a string.

    Raises:
        InvalidInput: the body isn't JSON, is nested too deeply, or holds an integer that is too
            long to be read in reasonable time.
    """
    has_nul = b"\\" in body and b"\\u0000" in body
    if not has_nul and not _has_long_integer(body):
        try:
            return orjson.loads(body), True
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(body), False
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"body is not valid JSON: {error}") from None
    except RecursionError:
        raise InvalidInput("body is nested too deeply") from None
    except ValueError:
        # Python's limit on the digits of an integer, see sys.set_int_max_str_digits.
        raise InvalidInput("body holds an integer of too many digits") from None


def _has_long_integer(body: bytes) -> bool:
    """Tell whether a body may hold an integer beyond 64 bits: of 19 digits or more."""
    zeros = body.translate(_DIGITS_TO_ZERO)
    place = zeros.find(_LONG)
    while place >= 0:
        # After a point it is a fraction, and after a digit the rest of one that went before.
        if zeros[place - 1 : place] not in (b".", b"0"):
            return True
        place = zeros.find(_LONG, place + len(_LONG))
    return False


def read_csv(
    body: bytes, columns: Mapping[Any, Column], budget: Budget, by_place: bool
) -> pd.DataFrame:
    """Return the frame in a CSV body, its columns in the types of the signature's.

    Args:
        body: UTF-8 text, with the names of the columns in its first line.
        columns: The columns of the signature.
        budget: How large the frame may be.
        by_place: Match them by their place rather than by their name.

    Raises:
        InvalidInput: the body isn't CSV, a column does not hold what the signature says, or the
            frame would be too large.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
    most = most_rows(text, len(body), budget)
    try:
        if by_place:
            header = pd.read_csv(StringIO(text), nrows=0).columns
            # The others are left to pandas, as MLflow does.
            columns = {
                name: column
                for name, column in zip(header, columns.values(), strict=False)
                if column.type in (DataType.datetime, DataType.binary)
            }
        types = {
            name: column for name, column in columns.items() if isinstance(column.type, DataType)
        }
        frame = pd.read_csv(
            StringIO(text),
            dtype={name: _csv_dtype(column) for name, column in types.items()},
            nrows=None if most is None else most + 1,
        )
        for name in types.keys() & {*frame.columns}:
            if types[name].type is DataType.datetime:
                frame[name] = _dates(frame[name])
            elif types[name].type is DataType.binary:
                frame[name] = frame[name].map(binary, na_action="ignore").astype(object)
    except Exception as error:
        raise InvalidInput(f"body is not valid CSV for this model: {describe(error)}") from error
    # Only pandas can tell which lines are rows, and which lie within quotes.
    if most is not None and len(frame) > most:
        raise InvalidInput(
            f"more than {most} rows of so many columns are too large a table for a body of "
            f"{len(body)} bytes: send fewer rows, or fewer columns"
        )
    return frame


def _csv_dtype(column: Column) -> Any:
    if column.type is DataType.datetime:
        # read_csv refuses datetime64.
        return str
    dtype = column.type.to_pandas()
    return dtype if column.required else _NULLABLE.get(column.type, dtype)


def _dates(texts: "pd.Series[Any]") -> Any:
    try:
        return dates(texts, guess=True)
    except ValueError:
        # Nanoseconds, which JSON has as numbers.
        return pd.to_datetime(pd.to_numeric(texts), cache=False)


def read_parquet(body: bytes, budget: Budget) -> pd.DataFrame:
    """Return the frame in a Parquet body.

    Args:
        body: The file.
        budget: How large the frame may be.

    Raises:
        InvalidInput: the body isn't Parquet, or unpacks to too much.
    """
    most = min(_MOST_PARQUET_CELLS, budget.cells(_PARQUET_PACKS * len(body)))
    try:
        cells = _parquet_cells(body, budget)
        if cells <= most:
            return pd.read_parquet(BytesIO(body))
    except MemoryError:
        size = f"{_MOST_PARQUET_BYTES >> 20} MiB"
        raise InvalidInput(f"Parquet body takes more than {size} to unpack: send less") from None
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"body is not valid Parquet: {describe(error)}") from error
    raise InvalidInput(
        f"Parquet body unpacks to {cells} cells, and one of {len(body)} bytes may to {most}: "
        "send fewer rows in a request"
    )


def _parquet_cells(body: bytes, budget: Budget) -> int:
    """Return how many cells a Parquet body holds, having unpacked it once.

    What it says of its own size is the client's word, and a few hundred bytes may unpack to
    gigabytes: only a bound on memory holds, and only what stays in this thread can be so bound.

    Raises:
        InvalidInput: it has too many columns.
        MemoryError: it unpacks to too much.
    """
    with at_most(_MOST_PARQUET_BYTES):
        file = parquet.ParquetFile(BytesIO(body), pre_buffer=False)
        if file.metadata.num_columns > budget.columns:
            raise budget.too_wide(file.metadata.num_columns)
        table = file.read(use_threads=False)
        return sum(_values(chunk) for column in table.columns for chunk in column.chunks)


def _values(array: "pa.Array[Any]") -> int:
    """Return how many values pandas makes of an array; those within lists and objects count."""
    type_, within = array.type, []
    if pa.types.is_struct(type_):
        within = [array.field(place) for place in range(type_.num_fields)]
    elif pa.types.is_nested(type_):
        within = [array.values]
    return len(array) + sum(map(_values, within))


def _not_utf8(error: UnicodeDecodeError) -> InvalidInput:
    return InvalidInput(f"body is not valid {error.encoding.upper()}: see byte {error.start}")
