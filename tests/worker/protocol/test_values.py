"""Dates, bytes and nulls: the model gets the same of them in whichever format they come."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from server.worker.protocol import Protocol
from server.worker.protocol.signature import Column
from server.worker.protocol.values import own_series
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.describing import description
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import JSON, columns, documents, mlflows_answer
from tests.worker.protocol.test_csv import CSV
from tests.worker.protocol.test_merging import assert_merges
from tests.worker.protocol.test_parquet import PARQUET, parquet
from tests.worker.protocol.workers import Served

Table = dict[str, list[Any]]

# How the column is made that stands beside the one in question: here, or by MLflow, as integers
# for floats are.
COMPANIONS: dict[str, Any] = {"double": 0.5, "float": 1}


def forms(table: Table) -> Iterator[Any]:
    """Yield the JSON documents that hold a table, one with an index of the client's own, too."""
    yield from documents(table).values()
    split = documents(table)["split"]["dataframe_split"]
    yield {"dataframe_split": {**split, "index": [*"xyz"[: len(split["data"])]]}}


def csv(table: Table) -> bytes:
    """Return a table as CSV."""
    return pd.DataFrame(table, dtype=object).to_csv(index=False).encode()


def seen(answer: Any) -> Any:
    """Return what the model saw, but for the labels of the rows and the order in memory, which is
    up to who makes the frame."""
    return answer | {"index": None, "memory": None}


def frame_of(**made: Any) -> Any:
    """Return what the model sees in a frame of these columns."""
    return seen(description(pd.DataFrame(made)))


def days(*texts: Any) -> Any:
    """Return a column of dates as the model gets them: without a zone, in nanoseconds."""
    return pd.to_datetime(pd.Series(texts, dtype=object), format="ISO8601").astype("datetime64[ns]")


def assert_same_in_every_format(served: Served, table: Table, expected: Any) -> None:
    """Assert what the model gets of a table, in each form that JSON has for it and in CSV."""
    for document in forms(table):
        assert seen(served.answer(document)) == expected, document
    assert seen(served.answer_to(csv(table), CSV)) == expected


UTC = "2024-05-06T07:08:09"


@pytest.mark.filterwarnings("ignore:no explicit representation of timezones")
@pytest.mark.parametrize("companion", COMPANIONS)
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([UTC + "Z", UTC + "Z"], [UTC, UTC]),
        (["2024-05-06T09:08:09+02:00", "2024-05-06T02:08:09-05:00"], [UTC, UTC]),
        # JavaScript's `toISOString()`.
        ([UTC + ".120Z", "2024-12-31T23:59:59.999Z"], [UTC + ".12", "2024-12-31T23:59:59.999"]),
        ([UTC + ".123456789+00:00"], [UTC + ".123456789"]),
        ([UTC + "Z", "2024-05-06", "2024-05-06 07:08:09"], [UTC, "2024-05-06", UTC]),
        (["2024-05-06T07:08", UTC + ".5"], ["2024-05-06T07:08", UTC + ".5"]),
        (["2024-05-06 12:38:09+0530", UTC + "-00:00"], [UTC, UTC]),
        (["2024-05-06T01:00:00+02:00", None], ["2024-05-05T23:00", None]),
        (["2024", "2024-05"], ["2024-01-01", "2024-05-01"]),
        ([None, None], [None, None]),
        (["", "NaT"], [None, None]),
    ],
)
def test_dates_are_taken_as_utc_in_every_format(
    serve: Serve, texts: list[Any], expected: list[Any], companion: str
) -> None:
    served = serve(Describes, columns(number=companion, day="datetime"))
    table = {"number": [COMPANIONS[companion]] * len(texts), "day": texts}
    numbers = pd.Series(table["number"], dtype=DataType[companion].to_numpy())
    frame = frame_of(number=numbers, day=days(*expected))
    assert seen(mlflows_answer(served.model, {"inputs": table})) == frame
    assert_same_in_every_format(served, table, frame)


@pytest.mark.parametrize(
    ("texts", "day"),
    [
        (["20240506T070809Z", "20240506T070809Z"], UTC),
        (["20240506"], "2024-05-06"),
    ],
)
def test_iso_dates_without_hyphens_are_taken_in_every_format(
    serve: Serve, texts: list[str], day: str
) -> None:
    # MLflow takes them in some formats, and in the others the last for the year 20240506.
    served = serve(Describes, columns(day="datetime"))
    assert_same_in_every_format(served, {"day": texts}, frame_of(day=days(*[day] * len(texts))))


@pytest.mark.parametrize("companion", COMPANIONS)
@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Mon, 06 May 2024 09:08:09 +0200", UTC),
        ("05/06/2024 07:08:09", UTC),
        ("2024-05-06 07:08:09 UTC", UTC),
        ("03/02/2024", "2024-03-02"),
        ("13/02/2024", "2024-02-13"),
        ("May 6, 2024", "2024-05-06"),
        ("12:30", None),
    ],
)
@pytest.mark.filterwarnings("ignore:Parsing dates in:UserWarning")
@pytest.mark.filterwarnings("ignore:Could not infer format:UserWarning")
def test_other_dates_are_guessed_only_where_mlflow_guesses(
    serve: Serve, text: str, day: str | None, companion: str
) -> None:
    served = serve(Describes, columns(number=companion, day="datetime"))
    table = {"number": [COMPANIONS[companion]], "day": [text]}
    numbers = pd.Series(table["number"], dtype=DataType[companion].to_numpy())
    for form, document in documents(table).items():
        if not form.startswith(("split", "records")):
            with pytest.raises(MlflowException):
                mlflows_answer(served.model, document)
            message = served.refusal(document)
            assert f'takes ISO 8601 dates (datetime); row 0 has a string "{text}"' in message
        elif day is not None:
            assert seen(served.answer(document)) == frame_of(number=numbers, day=days(day)), form
    if day is not None:
        assert seen(served.answer_to(csv(table), CSV)) == frame_of(number=numbers, day=days(day))


@pytest.mark.parametrize(
    "text", ["soon", "2024-13-01", "9999-12-31", "0001-01-01T00:00:00Z", "1714979289000"]
)
def test_what_is_no_date_or_beyond_nanoseconds_is_refused(serve: Serve, text: str) -> None:
    # Of the last three MLflow makes dates of other centuries, in `instances` and `inputs`.
    served = serve(Describes, columns(number="double", day="datetime"))
    for document in forms({"number": [0.5, 1.5], "day": ["2024-05-06", text]}):
        message = served.refusal(document)
        assert f'takes ISO 8601 dates (datetime); row 1 has a string "{text}"' in message


def test_dates_as_nanoseconds(serve: Serve) -> None:
    served = serve(Describes, columns(day="datetime"))
    numbers = [1714979289000000000, 1714979289000000001]
    expected = frame_of(day=days(UTC, UTC + ".000000001"))
    assert_same_in_every_format(served, {"day": numbers}, expected)


def test_dates_with_a_zone_in_parquet(serve: Serve) -> None:
    served = serve(Describes, columns(number="double", day="datetime"))
    some: list[Any] = [
        pd.to_datetime(["2024-05-06T09:08:09+02:00"]),
        pd.to_datetime([UTC]).tz_localize("UTC").tz_convert("Asia/Kolkata").as_unit("ms"),
        ["2024-05-06T07:08:09Z"],
    ]
    for day in some:
        body = parquet(pd.DataFrame({"number": [0.5], "day": day}))
        assert seen(served.answer_to(body, PARQUET)) == frame_of(number=[0.5], day=days(UTC))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "+05:30"])
def test_dates_of_any_zone_and_unit_in_parquet(serve: Serve, zone: str, unit: Any) -> None:
    served = serve(Describes, columns(number="double", day="datetime?"))
    # The second hour of the two that clocks in New York have at the end of summer time.
    naive = days("2024-11-03T06:30:00", None, "1700-01-01")
    zoned = naive.dt.tz_localize("UTC").dt.tz_convert(zone).dt.as_unit(unit)
    body = parquet(pd.DataFrame({"number": [0.5] * 3, "day": zoned}))
    expected = frame_of(number=[0.5] * 3, day=naive)
    assert seen(served.answer_to(body, PARQUET)) == expected


def test_dates_with_a_zone_beyond_nanoseconds_are_refused_in_parquet(serve: Serve) -> None:
    served = serve(Describes, columns(number="double", day="datetime"))
    day = pd.Series(["9999-12-31"]).astype("datetime64[s, UTC]")
    body = parquet(pd.DataFrame({"number": [0.5], "day": day}))
    assert "column 'day'" in served.refusal_of(body, PARQUET)


@pytest.mark.parametrize(
    ("type_", "column"),
    [
        ("datetime", days(UTC).dt.tz_localize("UTC").repeat(2_000_000)),
        ("datetime?", days(UTC, None).dt.tz_localize("Asia/Kolkata").repeat(1_000_000)),
        ("long?", pd.Series([1] * 1_999_999 + [None], dtype="Int64")),
        ("integer?", pd.Series([1.0] * 1_999_999 + [None])),
    ],
    ids=["dates", "dates and a null", "nullable integers", "floats"],
)
def test_large_columns_are_converted_fast(type_: str, column: Any) -> None:
    declared = Column(DataType[type_.rstrip("?")], required=not type_.endswith("?"))
    start = time.monotonic()
    array: Any = own_series(declared, column.reset_index(drop=True))
    assert len(array) == 2_000_000
    # A list of Python's values takes seconds, and one of dates a minute.
    assert time.monotonic() - start < 1


def test_dates_beside_arrays(serve: Serve) -> None:
    served = serve(Describes, columns(values=Array(DataType.double), day="datetime"))
    table: Table = {
        "values": [[0.5, 1.5], [2.5, 3.5]],
        "day": ["2024-05-06T07:08:09Z", "2024-05-06"],
    }
    naive = table | {"day": [UTC, "2024-05-06T00:00:00"]}
    for form in ("split", "split with index", "records"):
        expected: Any = mlflows_answer(served.model, documents(naive)[form])
        assert seen(served.answer(documents(table)[form])) == seen(expected), form


@pytest.mark.parametrize("companion", COMPANIONS)
@pytest.mark.parametrize(
    "values", [[b"hello", b"\x00"], [b"", b"\x00\x00"], [bytes(range(256))]], ids=len
)
def test_base64_is_decoded_in_every_format(
    serve: Serve, values: list[bytes], companion: str
) -> None:
    served = serve(Describes, columns(number=companion, image="binary"))
    texts = [base64.encodebytes(value).decode() for value in values]
    table = {"number": [COMPANIONS[companion]] * len(values), "image": texts}
    # MLflow decodes it here.
    expected = seen(mlflows_answer(served.model, documents(table)["split"]))
    for document in forms(table):
        assert seen(served.answer(document)) == expected, document


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    "document",
    [
        {"inputs": "aGVsbG8="},
        {"inputs": ["aGVsbG8="]},
        {"instances": ["aGVsbG8="]},
        {"instances": [["aGVsbG8="]]},
        {"dataframe_split": {"data": [["aGVsbG8="]]}},
    ],
)
def test_ways_to_send_one_value_in_base64(serve: Serve, document: Any, named: bool) -> None:
    served = serve(Describes, columns(image="binary") if named else columns("binary"))
    expected = description(pd.DataFrame({"image" if named else 0: [b"hello"]}))
    assert seen(served.answer(document)) == seen(expected)


def test_base64_in_csv(serve: Serve) -> None:
    served = serve(Describes, columns(number="double", image="binary?"))
    answer = served.answer_to(csv({"number": [0.5, 1.5], "image": ["aGVsbG8=", None]}), CSV)
    assert seen(answer) == frame_of(number=[0.5, 1.5], image=[b"hello", float("nan")])
    answer = served.answer_to(csv({"number": [0.5], "image": [None]}), CSV)
    assert answer["dtypes"] == ["float64", "object"]


@pytest.mark.parametrize("value", ["aGVsbG8", "a_-_", "???", "aGVsbG8=!", "AQ==AQ==", 1, None])
def test_what_is_not_base64_is_refused(serve: Serve, value: Any) -> None:
    served = serve(Describes, columns(number="double", image="binary"))
    table = {"number": [0.5, 1.5], "image": ["aGVsbG8=", value]}
    for document in forms(table):
        assert "takes base64 strings (binary); row 1 has" in served.refusal(document)
    if isinstance(value, str):
        served.refusal_of(csv(table), CSV)


@pytest.mark.parametrize("text", ["aGVs\nbG8=", "aGVs\r\nbG8=\r\n", " aGVs bG8=\t", "aGVsbG8="])
def test_base64_may_be_broken_into_lines(serve: Serve, text: str) -> None:
    served = serve(Describes, columns(number="double", image="binary"))
    table: Table = {"number": [0.5], "image": [text]}
    assert_same_in_every_format(served, table, frame_of(number=[0.5], image=[b"hello"]))


def _objects(*values: Any) -> Any:
    return pd.Series(values, dtype=object)


def _floats(*values: Any) -> Any:
    return pd.Series(values, dtype="float64")


NAN = float("nan")
NULLS: list[tuple[str, list[Any], Any]] = [
    ("integer", [1, None], _floats(1, None)),
    ("integer", [None], _floats(None)),
    ("long", [None, 2**53, -1], _floats(None, 2**53, -1)),
    ("long", [None, None], _floats(None, None)),
    # What a client has of a column that pandas made floats of.
    ("long", [1.0, NAN], _floats(1, None)),
    ("float", [0.5, None], pd.Series([0.5, None], dtype="float32")),
    ("float", [1, None], pd.Series([1, None], dtype="float32")),
    ("float", [None, None], pd.Series([None, None], dtype="float32")),
    ("double", [None, 1], _floats(None, 1)),
    ("double", [None, None], _floats(None, None)),
    ("boolean", [True, None], _objects(True, None)),
    ("boolean", [None, 0], _objects(None, False)),
    ("boolean", [NAN, True], _objects(None, True)),
    ("boolean", [None, None], _objects(None, None)),
    ("string", ["a", None], pd.Series(["a", None])),
    ("string", ["a", NAN], pd.Series(["a", None])),
    ("string", [None, None], _objects(None, None)),
    ("datetime", ["2024-05-06T07:08:09Z", None], days(UTC, None)),
    ("datetime", [None], days(None)),
    ("binary", ["aGVsbG8=", None], _objects(b"hello", None)),
    ("binary", [None, None], _objects(None, None)),
]
"""Types of optional columns, values in JSON, and what the model gets of them."""


@pytest.mark.parametrize("companion", COMPANIONS)
@pytest.mark.parametrize(("type_", "values", "column"), NULLS)
def test_nulls_in_optional_columns_stay_what_they_are(
    serve: Serve, type_: str, values: list[Any], column: Any, companion: str
) -> None:
    served = serve(Describes, columns(number=companion, value=f"{type_}?"))
    table = {"number": [COMPANIONS[companion]] * len(values), "value": values}
    numbers = pd.Series(table["number"], dtype=DataType[companion].to_numpy())
    expected = frame_of(number=numbers, value=column)
    for document in forms(table):
        assert seen(served.answer(document)) == expected, document
    body = parquet(pd.DataFrame({"number": numbers, "value": column}))
    assert seen(served.answer_to(body, PARQUET)) == expected
    if type_ not in ("string", "binary"):
        assert seen(served.answer_to(csv(table), CSV)) == expected


@pytest.mark.parametrize(("type_", "values", "column"), NULLS)
def test_rows_may_lack_the_key_of_an_optional_column(
    serve: Serve, type_: str, values: list[Any], column: Any
) -> None:
    served = serve(Describes, columns(number="double", value=f"{type_}?"))
    records = [
        {"number": 0.5, "unknown": 1} | ({"value": value} if value == value else {})
        for value in values
    ]
    for record, value in zip(records, values, strict=True):
        if value is None:
            del record["value"], record["unknown"]
    # Where no row has the key there is no column, as for MLflow.
    some = {"value": column} if any("value" in record for record in records) else {}
    expected = frame_of(number=[0.5] * len(values), **some)
    for format_ in ("dataframe_records", "instances", "inputs"):
        assert seen(served.answer({format_: records})) == expected, format_


def test_rows_may_lack_keys_that_the_model_does_not_know(serve: Serve) -> None:
    served = serve(Describes, columns(a="long", b="double?"))
    expected = frame_of(a=[1, 2])
    for format_ in ("dataframe_records", "instances", "inputs"):
        assert seen(served.answer({format_: [{"a": 1, "more": "x"}, {"a": 2}]})) == expected


@pytest.mark.parametrize("format_", ["dataframe_records", "instances", "inputs"])
def test_rows_that_lack_the_key_of_a_required_column_are_refused(
    serve: Serve, format_: str
) -> None:
    served = serve(Describes, columns(a="long", b="string?"))
    served.refusal({format_: [{"a": 1, "b": "x"}, {"b": "y"}]})


@pytest.mark.parametrize(
    ("type_", "value", "reason"),
    [
        ("long?", 2**53 + 1, "beside nulls whole numbers of up to 2**53; row 1 has a number 9007"),
        ("long?", 1.5, "beside nulls whole numbers of up to 2**53; row 1 has a number 1.5"),
        ("long?", 2**63, "integers of 64 bits (long)"),
        ("long?", "x", 'row 1 has a string "x"'),
        ("integer?", 2**31, "row 1 has a number 2147483648"),
        ("integer?", -0.5, "row 1 has a number -0.5"),
        ("boolean?", "false", 'beside nulls booleans and numbers; row 1 has a string "false"'),
    ],
)
def test_what_does_not_fit_beside_a_null_is_refused(
    serve: Serve, type_: str, value: Any, reason: str
) -> None:
    served = serve(Describes, columns(number="double", value=type_))
    for document in forms({"number": [0.5, 0.5], "value": [None, value]}):
        message = served.refusal(document)
        assert "column 'value' takes" in message
        assert reason in message


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([None, 2**53 + 1], dtype="Int64"),
        pd.Series([None, -(2**53) - 1], dtype="Int64"),
        pd.Series([None, 2**63 - 1], dtype="Int64"),
        pd.Series([None, 2**63], dtype="UInt64"),
        pd.Series([None, 2.0**63]),
        pd.Series([None, 1.5]),
        pd.Series([None, float("inf")]),
    ],
    ids=str,
)
def test_what_is_no_integer_beside_a_null_is_refused_in_parquet(
    serve: Serve, column: "pd.Series[Any]"
) -> None:
    served = serve(Describes, columns(number="double", value="long?"))
    message = served.refusal_of(parquet(pd.DataFrame({"number": 0.5, "value": column})), PARQUET)
    assert "column 'value': beside nulls it takes whole numbers of up to 2**53; row 1" in message


def test_optional_columns_without_nulls_in_csv(serve: Serve) -> None:
    types = {"a": "integer?", "b": "long?", "c": "boolean?", "d": "double?"}
    served = serve(Describes, columns(**types))
    table: Table = {"a": [1, -2], "b": [2**53 + 1, 0], "c": [True, False], "d": [0.5, 1.5]}
    frame = pd.DataFrame(table).astype({"a": "int32"})
    assert seen(served.answer_to(csv(table), CSV)) == seen(served.model.predict(frame))
    served.refusal_of(b"b\n1.5\n", CSV)
    served.refusal_of(b"c\nmaybe\n", CSV)


def test_nulls_in_nullable_columns_of_parquet(serve: Serve) -> None:
    served = serve(Describes, columns(a="long?", b="boolean?", c="double?"))
    frame = pd.DataFrame({"a": [1, None], "b": [True, None], "c": [0.5, None]})
    body = parquet(frame.astype({"a": "Int64", "b": "boolean", "c": "Float64"}))
    expected = frame_of(a=_floats(1, None), b=_objects(True, None), c=_floats(0.5, None))
    assert seen(served.answer_to(body, PARQUET)) == expected


@pytest.mark.parametrize(
    ("type_", "some"),
    [
        ("long?", [[1, None], [None, 2], [3, 4, None]]),
        ("boolean?", [[True, None], [None, False]]),
        ("string?", [["a", None], [None, "longer", "b"]]),
        ("binary?", [["aGVsbG8=", None], [None, "AA=="]]),
        ("binary", [["aGVsbG8="], ["AA==", ""]]),
        ("double?", [[None], [None, None]]),
        ("long?", [[None], [None, None]]),
        ("string?", [[None], [None, None]]),
    ],
)
def test_requests_with_nulls_merge(load: Load, type_: str, some: list[list[Any]]) -> None:
    protocol = Protocol(load(Echo, columns(number="double", value=type_)))
    tables = [{"number": [0.5] * len(values), "value": values} for values in some]
    for form in ("split", "records", "instances of records", "inputs of columns"):
        assert_merges(protocol, *(documents(table)[form] for table in tables))


def test_requests_with_and_without_nulls_do_not_merge(load: Load) -> None:
    protocol = Protocol(load(Echo, columns(value="long?")))
    keys = {
        protocol.parse(JSON, json.dumps({"instances": values}).encode()).merge_key
        for values in ([1], [None], [1, None])
    }
    assert len(keys) == 3


ANY: Any = AnyType()  # type: ignore[no-untyped-call]
NESTED: list[tuple[Any, list[Any]]] = [
    (Array(DataType.long), [[1, 2], [3]]),
    (Object([Property("key", DataType.string)]), [{"key": "a"}, {"key": "b"}]),
    (Map(DataType.string), [{"a": "x"}, {"b": "y", "c": "z"}]),
    (ANY, [["q", "r"], "s"]),
]


def cells(answer: Any) -> Any:
    """Return the cells that the model saw, of arrays and lists only what they hold."""
    return [
        [cell["cells"] if isinstance(cell, dict) and "cells" in cell else cell for cell in column]
        for column in answer["cells"]
    ]


def cells_of(**columns: list[Any]) -> Any:
    """Return what `cells` returns of a frame of these columns."""
    return [[description(cell) for cell in column] for column in columns.values()]


@pytest.mark.parametrize(("type_", "values"), NESTED)
def test_base64_beside_other_than_scalars(serve: Serve, type_: Any, values: list[Any]) -> None:
    served = serve(Describes, columns(a=type_, b="binary", n="long?"))
    for value in values:
        row = {"a": value, "b": "AQI=", "n": None}
        one = cells_of(a=[value], b=[b"\x01\x02"], n=[NAN])
        split = {"dataframe_split": {"columns": [*row], "data": [[*row.values()]]}}
        some: list[Any] = [split, {"dataframe_records": [row]}]
        some += [{format_: rows} for format_ in ("inputs", "instances") for rows in (row, [row])]
        for document in some:
            assert cells(served.answer(document)) == one, document
    rows = [{"a": value, "b": text} for value, text in zip(values, ["AQI=", "Aw=="], strict=True)]
    for format_ in ("dataframe_records", "inputs", "instances"):
        expected = cells_of(a=values, b=[b"\x01\x02", b"\x03"])
        assert cells(served.answer({format_: rows})) == expected, format_


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        # MLflow, too, makes these rows of them, but does not decode.
        ({"a": ["q", "r"], "b": ["AQI=", "Aw=="]}, [["q", "r"], [b"\x01\x02", b"\x03"]]),
        ({"a": [1, 2], "b": ["AQI=", "Aw=="]}, [[1, 2], [b"\x01\x02", b"\x03"]]),
        ({"a": ["q", "r"], "b": "AQI="}, [[["q", "r"]], [b"\x01\x02"]]),
        ({"a": [1, 2], "b": "AQI="}, [[1, 2], [b"\x01\x02"] * 2]),
        ({"a": "q", "b": ["AQI=", "Aw=="]}, [["q", "q"], [b"\x01\x02", b"\x03"]]),
        ({"a": None, "b": "AQI="}, [[None], [b"\x01\x02"]]),
        ({"b": "AQI="}, [[b"\x01\x02"]]),
    ],
)
def test_base64_in_an_object_beside_any(serve: Serve, payload: Any, expected: Any) -> None:
    specs: list[Any] = [ColSpec(ANY, "a", required=False), ColSpec("binary", "b")]
    served = serve(Describes, ModelSignature(Schema(specs)))
    for format_ in ("inputs", "instances"):
        document = {format_: payload}
        assert served.answer(document)["cells"] == description(expected)
        shape = [*map(len, mlflows_answer(served.model, document)["cells"])]
        assert shape == [*map(len, expected)]


def test_lists_of_base64_in_what_is_one_row_are_refused(serve: Serve) -> None:
    # MLflow gives the model the list, undecoded.
    served = serve(Describes, columns(a=Array(DataType.long), b="binary"))
    for format_ in ("inputs", "instances"):
        message = served.refusal({format_: {"a": [1, 2], "b": ["AQI=", "Aw=="]}})
        assert "column 'b' takes one base64 string" in message


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"a": [1], "x": "AQI=", "n": None}, {"a": [1], "x": [b"\x01\x02"], "n": [NAN]}),
        ({"a": [1, 2], "x": "AQI="}, {"a": [1, 2], "x": [b"\x01\x02"] * 2}),
        ({"a": 1, "x": ["AQI=", "Aw=="]}, {"a": [1, 1], "x": [b"\x01\x02", b"\x03"]}),
        (
            {"x": "AQI=", "n": [None, 2], "a": 1},
            {"a": [1] * 2, "x": [b"\x01\x02"] * 2, "n": [NAN, 2.0]},
        ),
    ],
)
def test_a_scalar_beside_lists_stands_for_as_many(
    serve: Serve, payload: Any, expected: Any
) -> None:
    served = serve(Describes, columns(a="long", x="binary", n="long?"))
    for format_ in ("inputs", "instances"):
        assert seen(served.answer({format_: payload})) == frame_of(**expected)
        served.refusal({format_: {"a": [1, 2], "x": ["AQI="]}})


@pytest.mark.parametrize(("type_", "values"), NESTED)
def test_nulls_in_optional_columns_of_other_than_scalars(
    serve: Serve, type_: Any, values: list[Any]
) -> None:
    specs: list[Any] = [ColSpec("long", "n"), ColSpec(type_, "a", required=False)]
    served = serve(Describes, ModelSignature(Schema(specs)))
    for some in ([None, *values], [values[0], None], [None], [None, None]):
        rows = [{"n": 1, "a": value} for value in some]
        expected = cells_of(n=[1] * len(some), a=some)
        split = {"columns": ["n", "a"], "data": [[*row.values()] for row in rows]}
        documents: list[Any] = [{"dataframe_split": split}]
        documents += [{format_: rows} for format_ in ("dataframe_records", "inputs", "instances")]
        documents += [{format_: rows[0]} for format_ in ("inputs", "instances") if len(rows) == 1]
        for document in documents:
            # MLflow's own way with Any in `instances` is an array, which wants one shape.
            if type_ is not ANY or "instances" not in document:
                assert cells(served.answer(document)) == expected, document
    for format_ in ("dataframe_records", "inputs", "instances"):
        if type_ is not ANY:
            answer = served.answer({format_: [{"n": 1, "a": values[0]}, {"n": 1}]})
            assert cells(answer) == cells_of(n=[1, 1], a=[values[0], None])


@pytest.mark.parametrize(
    ("values", "texts"),
    [([None, 5], [None, "5"]), ([True, None], ["True", None]), ([NAN, "a", 1], [None, "a", "1"])],
)
def test_what_is_not_text_beside_a_null_is_made_text_as_by_mlflow(
    serve: Serve, values: list[Any], texts: list[Any]
) -> None:
    served = serve(Describes, columns(number="double", value="string?"))
    table = {"number": [0.5] * len(values), "value": values}
    for form in ("instances of records", "instances of columns", "inputs of columns"):
        answer = served.answer(documents(table)[form])
        assert answer["cells"][1] == description(pd.Series(texts).tolist()), form
    present = [value for value in values if value is not None and value == value]
    for form in ("split", "records"):
        alone = documents({"number": [0.5] * len(present), "value": present})[form]
        expected: Any = mlflows_answer(served.model, alone)
        answer = served.answer(documents(table)[form])["cells"][1]
        nulls = ("NoneType None", "float nan")
        assert [cell for cell in answer if cell not in nulls] == expected["cells"][1], form
        assert len(answer) == len(values)


@pytest.mark.parametrize("labels", [["x", "y"], [0, 1], ["1", "0"], [1, "x"]], ids=str)
@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("datetime", UTC + "Z", days(UTC)),
        ("datetime", "2024-05-06T09:08:09+02:00", days(UTC)),
        ("binary", "AQI=", [b"\x01\x02"]),
        ("string", "007", ["007"]),
    ],
)
def test_columns_without_names_in_the_signature_are_matched_by_place(
    serve: Serve, labels: list[Any], type_: str, value: str, expected: Any
) -> None:
    served = serve(Describes, columns(type_, "long"))
    frame = pd.DataFrame({0: expected, 1: [2**53 + 1]}).set_axis(labels, axis="columns")
    wanted = seen(description(frame))
    row = [value, 2**53 + 1]
    split = {"columns": labels, "data": [row], "index": ["i"]}
    assert seen(served.answer({"dataframe_split": split})) == wanted
    split = {"columns": [*labels, "more"], "data": [[*row, "z"]]}
    assert seen(served.answer({"dataframe_split": split})) == wanted
    # In JSON and CSV names are text.
    named = seen(description(frame.set_axis([*map(str, labels)], axis="columns")))
    record = dict(zip(map(str, labels), row, strict=True))
    other = dict(reversed(record.items()))
    assert seen(served.answer({"dataframe_records": [record]})) == named
    assert served.answer({"dataframe_records": [record, other]})["columns"] == named["columns"]
    if type_ == "string":
        return
    for format_ in ("instances", "inputs"):
        assert seen(served.answer({format_: [record]})) == named
    assert (
        seen(served.answer_to(csv({name: [cell] for name, cell in record.items()}), CSV)) == named
    )
    if type_ == "datetime":
        sent = frame.set_axis([*map(str, labels)], axis="columns")
        sent[str(labels[0])] = pd.to_datetime([value], utc=True)
        assert seen(served.answer_to(parquet(sent), PARQUET)) == named
    served.refusal({"dataframe_split": {"columns": labels[:1], "data": [[value]]}})
    served.refusal_of(csv({"x": [value]}), CSV)
