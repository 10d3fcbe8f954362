"""Rows to try a model with: variations of its own example, or made from its signature."""

import json
import random
import re
from collections.abc import Collection, Sequence
from typing import Any

from mlflow.pyfunc import PyFuncModel
from mlflow.types import DataType
from mlflow.types.schema import ColSpec

Row = dict[str, Any] | list[Any] | Any
"""A record, a list of values, or a single value."""

_WORDS = ("good", "bad", "market", "team", "new", "vote", "data", "never", "wins", "falls")
_MAGNITUDES = (1, -1, 2, 0, 3, 10, -7, 100, 5, 25, -40, 1000, 12, 4, 60, 8)
# Under which key requests have what is said, in OpenAI's API: chat, responses and completions.
_MESSAGES = ("messages", "input", "prompt")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?=$|[T ]\d{2}:\d{2})", re.ASCII)
# Which variation has empty texts: many a model takes these for missing, and fills them.
_EMPTY = 5


def rows_of_example(example: str) -> list[Row]:
    """Return the rows in a serving input example, empty if it is not made of rows.

    Args:
        example: A JSON body for `/invocations`. It may hold NaN, as MLflow writes it; that counts
            as null.
    """
    document = json.loads(example, parse_constant=lambda _: None)
    if not isinstance(document, dict):
        return []
    if isinstance(split := document.get("dataframe_split"), dict):
        return _rows_of_split(split.get("columns"), split.get("data"))
    for key in ("dataframe_records", "instances", "inputs"):
        table = document.get(key)
        if isinstance(table, list):
            return table
        if isinstance(table, dict):
            return _rows_of_columns(table)
    return []


def _rows_of_split(columns: Any, data: Any) -> list[Row]:
    if not isinstance(columns, list) or not isinstance(data, list):
        return []
    rows = [row for row in data if isinstance(row, list) and len(row) == len(columns)]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _rows_of_columns(table: dict[str, Any]) -> list[Row]:
    columns = table.values()
    if not all(isinstance(column, list) for column in columns) or len({*map(len, columns)}) != 1:
        return []
    return [dict(zip(table, row, strict=True)) for row in zip(*columns, strict=True)]


def vary_example(example: str) -> str | None:
    """Return a request like a serving input example, with other values in its rows, or another text
    in the last message; None if there is nothing that could be another."""
    document = json.loads(example, parse_constant=lambda _: None)
    if not isinstance(document, dict):
        return None
    chance = random.Random(2)  # noqa: S311  # the same request at every load
    for key in (*_MESSAGES, "dataframe_split", "dataframe_records", "instances", "inputs"):
        if key in document:
            value = document[key]
            if key in _MESSAGES:
                varied = _vary_message(value, chance)
            elif key == "dataframe_split" and isinstance(value, dict) and "data" in value:
                varied = {**value, "data": _vary(value["data"], 1, chance)}
            else:
                varied = _vary(value, 1, chance)
            return json.dumps({**document, key: varied}) if varied != value else None
    return None


def _vary_message(value: Any, chance: random.Random) -> Any:
    """Another text in a message, or in the last of several, or of its parts; its role and all else
    stay."""
    if isinstance(value, str):
        return _vary(value, 1, chance)
    if isinstance(value, list) and value:
        return [*value[:-1], _vary_message(value[-1], chance)]
    if isinstance(value, dict):
        for key in ("content", "text"):
            if key in value:
                return {**value, key: _vary_message(value[key], chance)}
    return value


def row_of_signature(model: PyFuncModel) -> list[Row]:
    """Return a row that fits a signature of named columns of text, numbers and truth values; empty
    where it has others."""
    signature = model.metadata.signature
    if signature is None or signature.inputs is None or not signature.inputs.has_input_names():
        return []
    row: dict[str, Any] = {}
    for column in signature.inputs.inputs:
        # Types of arrays, objects and maps can't be looked up: they have no hash.
        known = isinstance(column, ColSpec) and isinstance(column.type, DataType)
        value = _VALUES.get(column.type) if known else None
        if value is None:
            return []
        row[column.name] = value
    return [row]


_VALUES: dict[DataType, Any] = {
    DataType.string: "new market data",
    DataType.double: 1.5,
    DataType.float: 1.5,
    DataType.long: 3,
    DataType.integer: 3,
    DataType.boolean: True,
}


def vary(rows: Sequence[Row], count: int) -> list[Row]:
    """Return `count` rows like the given ones, most of them with other values of the same JSON
    types: a model that looks at more than one row must get something to see."""
    chance = random.Random(0)  # noqa: S311  # the same rows at every load
    rows = _filled(rows)
    varied = list(rows[:count])
    while len(varied) < count:
        number = len(varied)
        varied.append(_vary(rows[number % len(rows)], number, chance))
    return varied


def nullable_columns(model: PyFuncModel, rows: Sequence[Row]) -> list[str]:
    """Return in which columns of rows a value may be missing: the signature says so, or it is
    missing in one of them."""
    signature = model.metadata.signature
    schema = signature.inputs if signature is not None else None
    optional = set(schema.optional_input_names()) if schema and schema.has_input_names() else set()
    records = [row for row in rows if isinstance(row, dict)]
    missing = {name for row in records for name, value in row.items() if value is None}
    return [name for name in (records[0] if records else ()) if name in optional | missing]


def leave_out(rows: Sequence[Row], columns: Collection[str]) -> list[Row]:
    """Return rows, each of them a given one without the values of some columns, each of which is
    missing in one row at least; none where there are too few."""
    names = [*columns]
    records = [row for row in rows if isinstance(row, dict)]
    if not names or len(records) < 2:
        return []
    count = min(len(records), max(len(names), 2))
    lacking = [{*names[place % len(names) :: count]} for place in range(count)]
    return [
        {name: None if name in gone else value for name, value in row.items()}
        for row, gone in zip(records, lacking, strict=False)
    ]


def _filled(rows: Sequence[Row]) -> list[Row]:
    """Put values of other rows in the place of those that are missing."""
    known: dict[str, Any] = {}
    for row in rows:
        if isinstance(row, dict):
            known.update({name: value for name, value in row.items() if value is not None})
    return [
        {name: known.get(name) if value is None else value for name, value in row.items()}
        if isinstance(row, dict)
        else row
        for row in rows
    ]


def _vary(value: Any, number: int, chance: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: _vary(item, number, chance) for key, item in value.items()}
    if isinstance(value, list):
        return [_vary(item, number, chance) for item in value]
    if isinstance(value, bool):
        return chance.random() < 0.5
    if isinstance(value, str):
        if (date := _DATE.match(value)) is not None:
            year, month, day = (1990 + chance.randrange(40), *chance.sample(range(1, 13), 2))
            return f"{year}-{month:02}-{day:02}{value[date.end() :]}"
        if number == _EMPTY:
            return ""
        words = value.split()[:20] + chance.sample(_WORDS, 3)
        chance.shuffle(words)
        return " ".join(words)
    magnitude = _MAGNITUDES[number % len(_MAGNITUDES)]
    if isinstance(value, int):
        return value + magnitude + chance.randint(0, 3)
    if isinstance(value, float):
        return value * (1 + chance.random()) + magnitude
    return value
