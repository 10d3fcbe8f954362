"""Small bodies that pandas, asked for a frame, makes gigabytes of or takes minutes for."""

import json
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"

MEBIBYTE = 1024 * 1024

SECONDS = 10.0
"""What the answer to one of these may take on a busy machine; it is a second or less."""

MEMORY = 1000 * MEBIBYTE
"""What it may take of memory, in bytes."""

_MANY = 30_000
_ROWS = [*range(_MANY)]
_NAMES = [f"c{number}" for number in _ROWS]
_VALUES = 20_000_000


def attacks() -> dict[str, tuple[str, bytes]]:
    """Return content types and bodies of at most a megabyte, but for the long CSV head."""
    return {
        **{f"{name} in records": _json("dataframe_records", rows) for name, rows in ROWS.items()},
        **{f"{name} in instances": _json("instances", rows) for name, rows in ROWS.items()},
        **{f"{name} in inputs": _json("inputs", rows) for name, rows in ROWS.items()},
        **{f"{name} in split": _json("dataframe_split", value) for name, value in SPLITS.items()},
        "an object for rows in split": _json(
            "dataframe_split", {"data": ROWS["keys of their own"]}
        ),
        "a value beside many without a format": (
            JSON,
            json.dumps(_BESIDE | {"prompt": 1}).encode(),
        ),
        **{f"CSV of {name}": (CSV, text.encode()) for name, text in CSVS.items()},
        **{f"Parquet of {name}": (PARQUET, _parquet(column)) for name, column in COLUMNS.items()},
    }


def _json(format_: str, payload: Any) -> tuple[str, bytes]:
    return JSON, json.dumps({format_: payload}, separators=(",", ":")).encode()


_BESIDE = {"x": _ROWS, **dict.fromkeys(_NAMES[:10_000], 1)}

ROWS: dict[str, Any] = {
    "keys of their own": [{"x": 1, str(number): 1} for number in range(16_000)],
    "a thousand keys, one each": [{f"c{number % 1000}": 1} for number in _ROWS],
    "one row of all keys": [dict.fromkeys(_NAMES[:1000], 1) | {"x": 1}, *([{"x": 1}] * _MANY)],
    "one wide row": [dict.fromkeys(_NAMES, 1) | {"x": 1}],
    "one long list": [_ROWS, *([[1]] * _MANY)],
    "a value beside many": _BESIDE,
    "columns with labels": {name: {name: 1} for name in _NAMES},
    "lists in a column of numbers": [{"x": [1, 2]}] * 30_000,
}

SPLITS: dict[str, Any] = {
    "names and an index": {"columns": ["x", *_NAMES], "index": _ROWS, "data": None},
    "names, an index and a value": {"columns": ["x", *_NAMES], "index": _ROWS, "data": 1},
    "columns with labels": {"data": {name: {name: 1} for name in ["x", *_NAMES]}},
    "an index beside single values": {"index": _ROWS, "data": dict.fromkeys(["x", *_NAMES], 1)},
    "names and empty rows": {"columns": ["x", *_NAMES], "data": [[]] * _MANY},
    "levels of an index": {"columns": ["x"], "index": [[1]] * _MANY, "data": [[1]]},
    "levels of names": {"columns": [[name] for name in _NAMES], "data": [[1]]},
    "a name many times": {"columns": ["x"] * _MANY, "data": [[1] * _MANY]},
    "numbers for names that hash alike": {
        "columns": [number * (2**61 - 1) for number in range(8, 9000)],
        "data": [[1] * 8992],
    },
}

CSVS = {
    "a long head": ",".join(f"c{number}" for number in range(900_000)) + "\n",
    "one name": ",".join(["x"] * 250_000) + "\n" + ",".join(["1"] * 250_000),
    "one name, in a head that is not too long": ",".join(["x"] * 9_000) + "\n1",
    "no names": "," * 500_000 + "\n",
    "short rows": ",".join(["x", *_NAMES[:9000]]) + "\n" + "1\n" * 300_000,
    "a quote, a long head and short rows": 'a"b,'
    + ",".join(_NAMES[:9000])
    + "\n"
    + "1\n" * 300_000,
    "a first row that is longer than the head": "x\n" + ",".join(["1"] * 500_000),
    "commas alone": "x\n" + ",\n" * 300_000,
    "blank lines": "x\n" + "\n" * 1_000_000 + "1",
    "one long cell": 'x\n"' + "a,\n" * 300_000 + '"\n',
}

_ZEROS = np.zeros(_VALUES, dtype="int8")

COLUMNS: dict[str, Any] = {
    "zeros": pa.array(_ZEROS),
    "nulls": pa.nulls(_VALUES, pa.float64()),
    "dates with a zone": pa.array(np.zeros(_VALUES // 4, dtype="int64")).cast(
        pa.timestamp("ns", "UTC")
    ),
    "a list of objects": pa.ListArray.from_arrays(
        [0, _VALUES // 2], pa.StructArray.from_arrays([_ZEROS[: _VALUES // 2]], ["a"])
    ),
    "a list of lists": pa.ListArray.from_arrays(
        [0, _VALUES // 4],
        pa.ListArray.from_arrays(
            pa.array(np.arange(_VALUES // 4 + 1, dtype="int32")), pa.array(_ZEROS[: _VALUES // 4])
        ),
    ),
}


def date_attacks() -> dict[str, tuple[str, bytes]]:
    """Return content types and bodies for a column of dates, `x`."""
    return {
        **{
            f"{name} in records": _json("dataframe_records", [{"x": x} for x in values])
            for name, values in DATES.items()
        },
        **{
            f"{name} in instances": _json("instances", [{"x": x} for x in values])
            for name, values in DATES.items()
        },
        "a long date in CSV": (CSV, f"x\n{_LONG_DATE}".encode()),
        "numbers that hash alike in CSV": (CSV, "\n".join(["x", *map(str, _ALIKE)]).encode()),
        "numbers that hash alike in an index in CSV": (
            CSV,
            "".join(["x\n", *(f"{number},1,1\n" for number in _ALIKE)]).encode(),
        ),
    }


def text_attacks() -> dict[str, tuple[str, bytes]]:
    """Return content types and bodies for a column of texts, `x`."""
    long = {"a": [*range(50_000)]}
    return {
        f"{name} in {format_}": _json(format_, table)
        for format_ in ("instances", "inputs")
        for name, table in {
            "a long text in a column": {"x": ["x" * 300_000, *([""] * _MANY)]},
            "a long text in a row": [{"x": "x" * 300_000}, *([{"x": ""}] * _MANY)],
            "an object in a column": {"x": [long, *([""] * _MANY)]},
            "an object in a row": [{"x": long}, *([{"x": ""}] * _MANY)],
            "an object in a list": ["", long, *([""] * _MANY)],
        }.items()
    }


def _alike(count: int) -> list[int]:
    """Return numbers that are one to the hash of pandas' tables (`kh_int64_hash_func` in khash.h).

    That is of 32 bits: those above the lowest 33, those at the bottom, and these moved by 11.
    """
    lows = ((low, (low ^ (low << 11)) & 0xFFFFFFFF) for low in range(1, 16 * count))
    return [(high << 33) | low for low, high in lows if high < 1 << 30][:count]


_LONG_DATE = "1 " * 300_000
_ALIKE = _alike(30_000)
DATES: dict[str, Any] = {
    "a long date": [_LONG_DATE],
    "a long date beside a number": [_LONG_DATE, 1],
    "numbers that hash alike": [*_ALIKE, *_ALIKE],
    "huge numbers that hash alike": [number * (2**61 - 1) for number in range(8, 30_000)],
}


def _parquet(column: Any) -> bytes:
    file = BytesIO()
    pq.write_table(pa.table({"x": column}), file, compression="zstd", store_schema=False)
    return file.getvalue()
