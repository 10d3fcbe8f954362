"""Values that MLflow's scoring server refuses in some formats, or spoils in others.

Dates with a zone, base64 and nulls in optional columns become the same column in every format:

- A date-time with a zone is taken as UTC, which is what MLflow does in `instances` and `inputs`; it
  refuses it elsewhere, and in all but these two takes only the format of the first row. Other dates
  than those of ISO 8601 are taken where MLflow takes them: in all but these two.
- Binary values are base64 (https://mlflow.org/docs/latest/ml/model/signatures), which MLflow
  decodes in `dataframe_split` and `dataframe_records` only.
- A null in an optional column stays one. MLflow refuses it among integers and binary values, and
  makes `False` of it among booleans and "None" among the strings of `instances` and `inputs`.
"""

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mlflow.types import DataType

from .signature import Column

# What pandas makes of text: `str` from pandas 3, `object` before.
TEXT: Any = pd.Series(["text"]).dtype

_NULLS = frozenset({type(None), float})
_DATES = frozenset({str, *_NULLS})
_NUMBERS = frozenset({int, *_NULLS})
_INTEGERS = frozenset({DataType.integer, DataType.long})


# dateutil, which pandas asks last, takes time that grows with the square of a text's length.
_LONGEST_DATE = 100
_LONGEST_INTEGER = 64

# No integer beyond becomes a float of this size.
_MOST_WHOLE = 2**53 - 1
_WHOLE = "whole numbers of up to 2**53"

BESIDE_NULLS: dict[Any, str] = {
    DataType.boolean: "booleans and numbers",
    DataType.integer: _WHOLE,
    DataType.long: _WHOLE,
}
"""What else a type demands of the values of an optional column in which some are null."""


class Misfit(Exception):
    """A value does not fit the type of its column; the message says why."""


def own_array(column: Column, values: Sequence[Any], guess: bool = False) -> Any | None:
    """Return a column's values as the model gets them, `None` where MLflow's way is right.

    Args:
        column: The column in the signature.
        values: JSON values, one for each row.
        guess: Dates may be written in other ways than ISO 8601: see `dates`.

    Raises:
        Misfit: one of them can't be converted.
    """
    if not isinstance(column.type, DataType):
        return None
    types = frozenset(map(type, values))
    if column.type is DataType.datetime:
        _told(_refuse_long, values)
        if types <= _DATES and (str in types or types == {type(None)}):
            return _told(dates, values, guess=guess)
        # Other formats refuse floats, and MLflow takes integers as nanoseconds in every one.
        return _told(_nanoseconds, values) if guess and types <= _NUMBERS else None
    if (array := _beside_nulls(column, types, values)) is not None:
        return array
    nulls = [*map(is_null, values)] if not types.isdisjoint(_NULLS) and not column.required else []
    if column.type is DataType.binary:
        return _told(_binary, values, nulls)
    if column.type not in _FITTING or not any(nulls):
        return None
    present = [value for value, null in zip(values, nulls, strict=True) if not null]
    if not _FITTING[column.type].issuperset(map(type, present)):
        if column.type is DataType.boolean:
            raise Misfit(f"beside nulls it takes {BESIDE_NULLS[column.type]}")
        return None
    if column.type in _INTEGERS:
        return _told(_integers, column.type, present, nulls)
    kept = iter(present if column.type is DataType.string else map(bool, present))
    array = _objects([None if null else next(kept) for null in nulls])
    return pd.array(array, dtype=TEXT) if column.type is DataType.string and present else array


def own_series(column: Column, series: "pd.Series[Any]") -> Any | None:
    """Return a column of a frame that a client sent as the model gets it, `None` where MLflow's
    way is right.

    Raises:
        Misfit: a value can't be converted.
    """
    if column.type is DataType.datetime:
        if isinstance(series.dtype, pd.DatetimeTZDtype):
            return _told(_without_zone, series)
        _told(_refuse_long, series)
        texts = series.dtype.kind == "O" and any(isinstance(value, str) for value in series)
        return _told(dates, series, guess=True) if texts else None
    nulls = series.isna()
    if column.required or not nulls.any() or not isinstance(column.type, DataType):
        return None
    if column.type in _INTEGERS and _holds_numbers(series):
        return _told(_whole, column.type, series[~nulls].to_numpy(), nulls.to_numpy())
    values = series.astype(object).where(~nulls, None).tolist()
    if column.type in (DataType.float, DataType.double) and nulls.all():
        return np.array(values, dtype=column.type.to_numpy())
    # Text and bytes are what they are in these formats, and NaN stands for the nulls.
    as_it_is = column.type in (DataType.string, DataType.binary)
    return None if as_it_is else own_array(column, values)


# What stands beside the nulls of an optional column. JSON made of a column of floats has 1.0 for 1.
_FITTING: dict[Any, frozenset[type]] = {
    DataType.boolean: frozenset({bool, int, float}),
    DataType.integer: frozenset({int, float}),
    DataType.long: frozenset({int, float}),
    DataType.string: frozenset({str}),
}


# Of these all is known when each is of this type or null.
_OWN: dict[Any, type] = {
    DataType.boolean: bool,
    DataType.integer: int,
    DataType.long: int,
    DataType.string: str,
}


def _beside_nulls(column: Column, types: frozenset[type], values: Sequence[Any]) -> Any | None:
    """Return an optional column of nulls and values of the type in `_OWN`; `None` if it holds
    anything else, or integers that are too large."""
    type_ = column.type
    if column.required or types != {_OWN.get(type_), type(None)}:
        return None
    if type_ is DataType.string:
        return pd.array(values, dtype=TEXT)
    if type_ is DataType.boolean:
        return _objects(values)
    try:
        floats = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    most = min(_MOST_WHOLE, np.iinfo(type_.to_numpy()).max)
    return floats if np.nanmax(np.abs(floats)) <= most else None


def is_null(value: Any) -> bool:
    """Tell whether a JSON value stands for a missing one: null or NaN."""
    return value is None or (type(value) is float and value != value)


def dates(values: Iterable[Any], guess: bool = False) -> Any:
    """Return dates written in ISO 8601, each in its own way, as an array of `datetime64[ns]`.

    A date-time with a zone is converted to UTC, one without is taken as it is.

    Args:
        values: Strings and nulls.
        guess: Take other ways of writing dates, too, where pandas knows them, all in the format of
            the first: whether the day or the month comes first depends on its value.

    Raises:
        ValueError: pandas can't read one, or it is beyond the years 1678 to 2261, or far too long.
    """
    values = list(values)
    _refuse_long(values)
    try:
        index = pd.to_datetime(values, utc=True, format="ISO8601", cache=False)
    except ValueError:
        if not guess:
            raise
        # Only of texts may equal ones be looked up: numbers can be so chosen that they hash alike.
        index = pd.to_datetime(values, utc=True, cache={*map(type, values)} <= {str})
    return index.tz_localize(None).as_unit("ns").to_numpy(copy=True)


def _nanoseconds(values: Sequence[Any]) -> Any:
    # As MLflow does it, but for the cache: see `dates`.
    dates = pd.to_datetime(pd.Series(values), cache=False)
    return dates.dt.as_unit("ns").to_numpy(copy=True)


def _refuse_long(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, str) and len(value) > _LONGEST_DATE:
            raise ValueError(f"a date has at most {_LONGEST_DATE} characters")
        if type(value) is int and value.bit_length() > _LONGEST_INTEGER:
            raise ValueError(f"a date in nanoseconds has at most {_LONGEST_INTEGER} bits")


def binary(value: str) -> bytes:
    """Decode base64, which may be broken into lines.

    MLflow passes over all other characters than those of base64, too, and so makes nothing of
    "???".

    Raises:
        ValueError: it isn't base64.
    """
    return base64.b64decode(b"".join(value.encode().split()), validate=True)


def _binary(values: Sequence[Any], nulls: Sequence[bool]) -> Any:
    nulls = nulls or [False] * len(values)
    pairs = zip(values, nulls, strict=True)
    return _objects([None if null else binary(value) for value, null in pairs])


def _without_zone(series: "pd.Series[Any]") -> Any:
    return series.dt.tz_convert("UTC").dt.tz_localize(None).dt.as_unit("ns").to_numpy(copy=True)


def _holds_numbers(series: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series)


def _integers(type_: DataType, present: Sequence[Any], nulls: Sequence[bool]) -> Any:
    # Of integers and floats numpy would make floats, and round what it is to be checked.
    np.array(present, dtype=type_.to_numpy())
    return _whole(type_, _objects(present), np.array(nulls))


def _whole(type_: DataType, present: Any, nulls: Any) -> Any:
    """Make floats with NaN for nulls, as pandas does, of integers that stay what they are.

    Args:
        type_: `integer` or `long`.
        present: An array of the values that aren't null.
        nulls: An array that tells for each row whether it is null.

    Raises:
        ValueError: one is no integer, too large for the type, or too large for a float.
    """
    array = np.full(len(nulls), np.nan)
    array[~nulls] = present
    floats = array[~nulls]
    bounds = np.iinfo(type_.to_numpy())
    fits = (floats >= bounds.min) & (floats < bounds.max + 1) & (np.trunc(floats) == floats)
    fits[fits] = floats[fits].astype(np.int64) == present[fits]
    if not fits.all():
        row = np.flatnonzero(~nulls)[np.argmin(fits)]
        raise ValueError(
            f"beside nulls it takes {_WHOLE}; row {row} has {present[np.argmin(fits)]}"
        )
    return array


def _objects(values: Sequence[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _told(convert: Callable[..., Any], *args: Any, **options: Any) -> Any:
    try:
        return convert(*args, **options)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise Misfit(str(error)) from error
