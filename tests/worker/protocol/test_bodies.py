"""Content types, and JSON bodies that are hostile, broken or merely odd."""

import json
import time

import pytest

from server.worker.protocol import Protocol
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.describing import description
from tests.worker.protocol.models import Describes, Echo
from tests.worker.protocol.support import JSON, columns
from tests.worker.protocol.workers import Served


@pytest.fixture
def texts(serve: Serve) -> Served:
    """A model with one column of strings."""
    return serve(Describes, columns(text="string"))


@pytest.fixture
def anything(serve: Serve) -> Served:
    """A model that declares nothing."""
    return serve(Describes)


@pytest.fixture
def protocol(load: Load) -> Protocol:
    """The protocol of a model that declares nothing, to see what a request becomes."""
    return Protocol(load(Echo))


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;",
        "application/json; charset=latin-1; charset=utf-8",
        ";",
    ],
)
def test_json_content_types(texts: Served, content_type: str) -> None:
    body = b'{"instances": ["a"]}'
    assert texts.answer_to(body, content_type) == texts.answer_to(body, JSON)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-8; charset=latin-1",
        "application/json; boundary=x",
        "multipart/form-data; boundary=x",
        "json",
        "application/x-parquet",
    ],
)
def test_other_content_types(texts: Served, content_type: str) -> None:
    texts.refusal_of(b'{"instances": ["a"]}', content_type, status=415)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON: Expecting value: line 1 column 1"),
        (
            b'{"instances": ["a"',
            "not valid JSON: Expecting ',' delimiter: line 1 column 19 (char 18)",
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
def test_broken_json(texts: Served, body: bytes, message: str) -> None:
    started = time.monotonic()
    assert message in texts.refusal_of(body)
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
def test_numbers_are_those_of_the_standard_library(anything: Served, number: str) -> None:
    body = b'{"prompt": %s}' % number.encode()
    assert anything.answer_to(body) == description(json.loads(body))


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
def test_odd_json_is_read_as_by_the_standard_library(anything: Served, body: bytes) -> None:
    assert anything.answer_to(body) == description(json.loads(body))


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
def test_odd_json_is_not_merged(protocol: Protocol, body: bytes) -> None:
    request = protocol.parse(JSON, body)
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
def test_payloads_that_are_no_input(texts: Served, body: bytes) -> None:
    texts.refusal_of(body)


@pytest.mark.parametrize(
    "number",
    ["0.0012345678901234567", "12.0000000000000000000000000000000000000001", "123456789012345678"],
)
def test_long_fractions_are_merged(protocol: Protocol, number: str) -> None:
    request = protocol.parse(JSON, b'{"instances": [1.5, %s]}' % number.encode())
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
def test_long_integers_are_read_exactly(anything: Served, protocol: Protocol, numbers: str) -> None:
    body = b'{"prompt": [%s]}' % numbers.encode()
    assert anything.answer_to(body) == description(json.loads(body))
    assert protocol.parse(JSON, b'{"instances": [%s]}' % numbers.encode()).merge_key is None


def test_arrays_of_text_that_would_not_fit_in_memory_are_refused(anything: Served) -> None:
    cells = ["x" * 1_000_000] + [""] * 300_000
    assert "300001 texts" in anything.refusal({"instances": cells})


def test_texts_of_any_length_fit_in_a_column(serve: Serve) -> None:
    cells = ["x" * 1_000_000] + [""] * 300_000
    served = serve(Echo, columns(text="string"))
    assert [row["text"] for row in served.answer({"instances": cells})] == cells
