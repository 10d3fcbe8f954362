"""Content types, and bodies that are hostile, broken or merely odd."""

import json
import math
import time
from io import BytesIO, StringIO
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import parse_csv_input

from server.worker.protocol import InvalidInput, Protocol
from tests.protocol.conftest import Load
from tests.protocol.models import Echo
from tests.protocol.support import JSON, assert_same, columns, tensor

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"


@pytest.fixture
def texts(load: Load) -> Protocol:
    """A model with one column of strings."""
    return Protocol(load(Echo, columns(text="string")))


@pytest.fixture
def anything(load: Load) -> Protocol:
    """A model that declares nothing."""
    return Protocol(load(Echo))


def refused(protocol: Protocol, body: bytes, content_type: str = JSON) -> InvalidInput:
    """Return what parsing and predicting say about a body that is not valid."""
    with pytest.raises(InvalidInput) as caught:
        protocol.predict(protocol.parse(content_type, body))
    assert len(caught.value.message) < 1100
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;",
    ],
)
def test_json_content_types(texts: Protocol, content_type: str) -> None:
    assert texts.parse(content_type, b'{"instances": ["a"]}').payload == ["a"]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json; charset=latin-1",
        "application/json; boundary=x",
        "multipart/form-data; boundary=x",
        "json",
        ";",
        "application/x-parquet",
    ],
)
def test_other_content_types(texts: Protocol, content_type: str) -> None:
    if content_type == ";":
        assert texts.parse(content_type, b'{"instances": ["a"]}').rows == 1
    else:
        assert refused(texts, b'{"instances": ["a"]}', content_type).status == 415


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON: Expecting value: line 1 column 1"),
        (
            b'{"instances": ["a"',
            r"not valid JSON: Expecting ',' delimiter: line 1 column 19 \(char 18\)",
        ),
        (b'{"instances": [1,]}', "not valid JSON"),
        (b"{'instances': [1]}", "not valid JSON"),
        (b'{"instances": ["a"]} x', "not valid JSON: Extra data"),
        (b'{"instances": ["a\x00"]}', "not valid JSON: Invalid control character"),
        (b'{"instances": ["\xff"]}', "not valid UTF-8: see byte 16"),
        (b"\x00" * 10, "not valid"),
        (b'{"instances": ["a"]}'.decode().encode("utf-16")[:-1], "not valid UTF-16"),
        (b'["a"]', "it is a list"),
        (b'"a"', "it is a string"),
        (b"1", "it is a number"),
        (b"true", "it is a boolean"),
        (b"null", "it is null"),
        (b"{}", "it has none of them"),
        (b'{"rows": 1}', "it has none of them"),
        (b'{"instances": [1], "inputs": [1]}', "it has inputs and instances"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"instances":' * 100_000, "nested too deeply"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"instances": [' + b"1" * 1_000_000 + b"]}", "too many digits"),
        (b'{"instances": [-' + b"1" * 5_000 + b"]}", "too many digits"),
    ],
)
def test_broken_json(texts: Protocol, body: bytes, message: str) -> None:
    started = time.monotonic()
    error = refused(texts, body)
    assert error.status == 400
    with pytest.raises(InvalidInput, match=message):
        raise error
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "9223372036854775808",
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "0." + "1" * 1_000_000,
        "1" * 4_000,
        "-0",
        "-0.0",
        "1E5",
        "5e-324",
        "1" * 400 + ".5",
        "123456789012345678901234567890.5",
    ],
)
def test_numbers_are_those_of_the_standard_library(anything: Protocol, number: str) -> None:
    request = anything.parse(JSON, b'{"prompt": %s}' % number.encode())
    (value,) = request.payload.values()
    expected = json.loads(number)
    assert type(value) is type(expected)
    assert value == expected or math.isnan(expected)
    if isinstance(expected, float):
        assert math.copysign(1, value) == math.copysign(1, expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt": {"x": 1, "x": 2}}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "\\ud83d\\ude00"}',
        b'{"prompt": "\\u0000"}',
        b'{"\\u0000": 1, "prompt": ""}',
        b'\xef\xbb\xbf{"prompt": 1}',
        '{"prompt": "é"}'.encode("utf-16"),
        b' \n{"prompt" :\t1} \r\n',
    ],
)
def test_odd_json_is_read_as_by_the_standard_library(anything: Protocol, body: bytes) -> None:
    assert anything.parse(JSON, body).payload == json.loads(body)
    assert anything.parse(JSON, memoryview(body)).payload == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [NaN]}',
        b'{"instances": [1e400]}',
        b'{"instances": [99999999999999999999]}',
        b'{"instances": ["\\ud800"]}',
        b'{"instances": ["\\u0000"]}',
    ],
)
def test_odd_json_is_not_merged(anything: Protocol, body: bytes) -> None:
    request = anything.parse(JSON, body)
    assert request.merge_key is None
    assert request.rows == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": ["\\ud800"]}',
        b'{"instances": [{"text": "\\ud800"}]}',
        b'{"dataframe_split": {"columns": ["text"], "data": [["\\ud800"]]}}',
        b'{"dataframe_split": {"columns": ["\\ud800"], "data": [["a"]]}}',
        b'{"instances": [{"\\ud800": "a"}]}',
        b'{"dataframe_split": {"columns": ["text"], "data": 1}}',
        b'{"dataframe_split": {"columns": 1, "data": [["a"]]}}',
        b'{"dataframe_split": {"columns": [["text"]], "data": [["a"]]}}',
        b'{"dataframe_split": {"columns": ["text"], "data": [["a"]], "index": "x"}}',
        b'{"dataframe_split": {"columns": ["text"]}}',
        b'{"dataframe_split": ["text"]}',
        b'{"dataframe_split": null}',
        b'{"dataframe_records": {"text": "a"}}',
        b'{"dataframe_records": "a"}',
        b'{"instances": null}',
        b'{"instances": {}}',
        b'{"instances": [{}]}',
        b'{"instances": [' + b"[" * 900 + b"]" * 900 + b"]}",
    ],
)
def test_payloads_that_are_no_input(texts: Protocol, body: bytes) -> None:
    assert refused(texts, body).status == 400


@pytest.mark.parametrize(
    "number",
    ["0.0012345678901234567", "12.0000000000000000000000000000000000000001", "123456789012345678"],
)
def test_long_fractions_are_merged(anything: Protocol, number: str) -> None:
    request = anything.parse(JSON, b'{"instances": [1.5, %s]}' % number.encode())
    assert request.merge_key is not None
    assert request.payload == [1.5, json.loads(number)]


@pytest.mark.parametrize(
    "numbers",
    [
        "1234567890123456789",
        "0.12345678901234567890123, 18446744073709551616",
        "-9223372036854775809",
    ],
)
def test_long_integers_are_read_exactly(anything: Protocol, numbers: str) -> None:
    body = b'{"instances": [%s]}' % numbers.encode()
    request = anything.parse(JSON, body)
    assert request.merge_key is None
    assert repr(request.payload) == repr(json.loads(body)["instances"])


def test_arrays_of_text_that_would_not_fit_in_memory_are_refused(anything: Protocol) -> None:
    cells = ["x" * 1_000_000] + [""] * 300_000
    body = json.dumps({"instances": cells}).encode()
    assert "300001 texts" in refused(anything, body).message


def test_texts_of_any_length_fit_in_a_column(texts: Protocol) -> None:
    cells = ["x" * 1_000_000] + [""] * 300_000
    request = texts.parse(JSON, json.dumps({"instances": cells}).encode())
    assert list(texts.predict(request)["text"]) == cells


@pytest.mark.parametrize(
    "csv",
    [
        "a,b,c\n1,0.5,x\n2,1.5,y\n",
        "c,b,a\nx,0.5,1\n",
        "a,b,c\n1,,\n",
        'a,b,c\n1,0.1,"x, ""y""\nz"\n',
        "a,b,c,d\n1,2,3,4\n",
        "a,b,c\n",
        "\ufeffa,b,c\n1,2,3\n",
    ],
)
def test_csv(load: Load, csv: str) -> None:
    signature = columns(a="long", b="double", c="string")
    protocol = Protocol(load(Echo, signature))
    request = protocol.parse(CSV, csv.encode())
    assert request.merge_key is None
    assert request.rows == len(request.payload)
    model = load(Echo, signature)
    assert_same(protocol.predict(request), model.predict(_mlflows_csv(csv, model)))


def _mlflows_csv(csv: str, model: Any) -> Any:
    parse: Any = parse_csv_input
    return parse(StringIO(csv), model.metadata.get_input_schema())


@pytest.mark.parametrize("body", [b"", b"a,b\n1,x\n", b"\xff", b"a,a\n1,2\n", b'a,b\n"1,2'])
def test_csv_that_does_not_fit(load: Load, body: bytes) -> None:
    protocol = Protocol(load(Echo, columns(a="long", b="double")))
    assert refused(protocol, body, CSV).status == 400


def test_csv_of_dates_and_tensors(load: Load) -> None:
    # MLflow's server refuses both.
    protocol = Protocol(load(Echo, columns(day="datetime")))
    frame = protocol.predict(protocol.parse("text/csv; charset=utf-8", b"day\n2024-05-06\n"))
    assert frame["day"].tolist() == [pd.Timestamp("2024-05-06")]
    protocol = Protocol(load(Echo, tensor("float64", -1, 2)))
    assert_same(protocol.predict(protocol.parse(CSV, b"a,b\n1.5,2\n")), np.array([[1.5, 2.0]]))


def _parquet(frame: pd.DataFrame) -> bytes:
    file = BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def test_parquet(load: Load) -> None:
    protocol = Protocol(load(Echo, columns(a="long", b="string")))
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [None, None]}, index=[5, 6])
    request = protocol.parse(PARQUET, _parquet(frame))
    assert request.merge_key is None
    assert request.rows == 2
    assert_same(protocol.predict(request), frame[["a", "b"]])


@pytest.mark.parametrize("body", [b"", b"PAR1", b"PAR1" * 10, _parquet(pd.DataFrame({"z": [1]}))])
def test_parquet_that_does_not_fit(texts: Protocol, body: bytes) -> None:
    assert refused(texts, body, PARQUET).status == 400


def test_parquet_that_unpacks_to_too_much(texts: Protocol) -> None:
    body = _parquet(pd.DataFrame({"text": np.zeros(30_000_000, dtype="int8")}))
    assert len(body) < 1_000_000
    assert "unpacks to 30000000 cells" in refused(texts, body, PARQUET).message
