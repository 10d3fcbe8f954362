"""From a body's bytes to JSON values and data frames."""

import json
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO, StringIO
from typing import Any

import orjson
import pandas as pd
from mlflow.types import DataType
from pyarrow import parquet

from .errors import InvalidInput, describe
from .memory import at_most
from .signature import Column
from .values import binary, dates

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"

_MOST_PARQUET_CELLS = 20_000_000
_MOST_PARQUET_BYTES = 1 << 29

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


def read_csv(body: bytes, columns: Mapping[Any, Column], by_place: bool) -> pd.DataFrame:
    """Return the frame in a CSV body, its columns in the types of the signature's.

    Args:
        body: UTF-8 text, with the names of the columns in its first line.
        columns: The columns of the signature.
        by_place: Match them by their place rather than by their name.

    Raises:
        InvalidInput: the body isn't CSV, or a column does not hold what the signature says.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None
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
            StringIO(text), dtype={name: _csv_dtype(column) for name, column in types.items()}
        )
        for name in types.keys() & {*frame.columns}:
            if types[name].type is DataType.datetime:
                frame[name] = _dates(frame[name])
            elif types[name].type is DataType.binary:
                frame[name] = frame[name].map(binary, na_action="ignore").astype(object)
    except Exception as error:
        raise InvalidInput(f"body is not valid CSV for this model: {describe(error)}") from error
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
        return pd.to_datetime(pd.to_numeric(texts))


def read_parquet(body: bytes) -> pd.DataFrame:
    """Return the frame in a Parquet body.

    Raises:
        InvalidInput: the body isn't Parquet, or unpacks to too much.
    """
    try:
        cells = _parquet_cells(body)
        if cells <= _MOST_PARQUET_CELLS:
            return pd.read_parquet(BytesIO(body))
    except MemoryError:
        size = f"{_MOST_PARQUET_BYTES >> 20} MiB"
        raise InvalidInput(f"Parquet body takes more than {size} to unpack: send less") from None
    except Exception as error:
        raise InvalidInput(f"body is not valid Parquet: {describe(error)}") from error
    raise InvalidInput(f"Parquet body unpacks to {cells} cells: send less")


def _parquet_cells(body: bytes) -> int:
    """Return how many cells a Parquet body holds, having unpacked it once.

    What it says of its own size is the client's word, and a few hundred bytes may unpack to
    gigabytes: only a bound on memory holds, and only what stays in this thread can be so bound.

    Raises:
        MemoryError: it unpacks to too much.
    """
    with at_most(_MOST_PARQUET_BYTES):
        table = parquet.ParquetFile(BytesIO(body), pre_buffer=False).read(use_threads=False)
        cells: int = table.num_rows * table.num_columns
        return cells


def _not_utf8(error: UnicodeDecodeError) -> InvalidInput:
    return InvalidInput(f"body is not valid {error.encoding.upper()}: see byte {error.start}")
