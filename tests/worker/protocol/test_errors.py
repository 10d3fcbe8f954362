"""What is said about what went wrong, and whose fault it is."""

import json
import time
from typing import Any

import pytest

from server.worker.protocol import InvalidInput, ModelError, Protocol, error_body
from server.worker.protocol.errors import describe
from tests.worker.protocol.conftest import Load, Serve
from tests.worker.protocol.models import Complains, Echo
from tests.worker.protocol.support import JSON, columns


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"instances": [{"a": "x", "b": 1}]},
            "column 'a' takes numbers (double); row 0 has a string \"x\"",
        ),
        (
            {"dataframe_split": {"columns": ["b", "a"], "data": [[1, 1], [None, 1]]}},
            "column 'b' takes integers of 64 bits (long); row 1 has null",
        ),
        (
            {"inputs": {"a": [1.5], "b": ["1e"]}},
            "column 'b' takes integers of 64 bits (long); row 0 has a string \"1e\"",
        ),
        (
            {"instances": [[1, 2], [1, {}]]},
            "column 'b' takes integers of 64 bits (long); row 1 has an object",
        ),
        (
            {"dataframe_records": [{"a": [1], "b": 1}]},
            "column 'a' takes numbers (double); row 0 has a list",
        ),
        (
            {"dataframe_records": [{"a": 1, "b": 2**70}]},
            f"column 'b' takes integers of 64 bits (long); row 0 has a number {2**70}",
        ),
        ({"dataframe_records": [{"a": 1}]}, "Model is missing inputs ['b']."),
        (
            {"dataframe_records": [{"a": 1, "B": 2}]},
            "Model is missing inputs ['b']. Note that there were extra inputs: ['B'].",
        ),
        (
            {"instances": [[1, 2, 3]]},
            "rows that are lists must hold 2 values each, one for each column",
        ),
        (
            {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
            (
                "Invalid input. Provided dataframe_split field is not a valid dataframe "
                "representation in 'split' format. "
                "Error: '1 columns passed, passed data had 2 columns'"
            ),
        ),
    ],
)
def test_the_value_that_does_not_fit_is_named(serve: Serve, document: Any, message: str) -> None:
    assert serve(Echo, columns(a="double", b="long")).refusal(document) == message


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [{"a": "secret" * 10_000}]},
        {"dataframe_split": {"columns": ["a"], "data": [["secret" * 10_000]]}},
        {"dataframe_records": [{"secret" * 10_000: 1}]},
        {"instances": ["secret"] * 10_000},
        {"instances": [{"a": {"b": "secret" * 10_000}}]},
    ],
)
@pytest.mark.parametrize("type_", ["double", "datetime", "long"])
def test_inputs_are_not_repeated_whole(serve: Serve, document: Any, type_: str) -> None:
    assert len(serve(Echo, columns(a=type_)).refusal(document)) <= 1003


@pytest.mark.parametrize("type_", ["double", "long", "datetime", "binary"])
def test_the_wrong_value_among_very_many_is_found_soon(serve: Serve, type_: str) -> None:
    good = {"double": 0.5, "long": 1, "datetime": "2024-05-06", "binary": "AA=="}[type_]
    rows = [[good]] * 50_000
    rows[40_000] = [[]]
    document = {"dataframe_split": {"columns": ["a"], "data": rows}}
    served = serve(Echo, columns(a=type_))
    started = time.monotonic()
    assert "row 40000 has a list" in served.refusal(document)
    assert time.monotonic() - started < 5


def test_schema_details_may_be_kept_back(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_SCHEMA_DETAILS", "true")
    protocol = Protocol(load(Echo, columns(a="double")))
    with pytest.raises(InvalidInput, match=r"^Failed to enforce model input schema"):
        protocol.predict(protocol.parse(JSON, b'{"dataframe_records": [{"b": 1}]}'))


@pytest.mark.parametrize("rows", [["oops"], ["oops", None]])
def test_what_the_model_raises_is_told_and_its_traceback_logged(
    serve: Serve, rows: list[Any]
) -> None:
    served = serve(Complains, columns(text="string"))
    assert served.failure({"instances": rows}) == "oops"
    assert "raise Complaint(word)" in served.worker.log


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("panic", "index out of bounds"),
        ("exit", "the model ended the process"),
        ("exit 3", "the model ended the process: 3"),
        ("unprintable", "Unprintable"),
        ("x" * 5000, "x" * 1000 + "..."),
    ],
)
def test_whatever_the_model_raises_the_worker_goes_on(
    serve: Serve, word: str, message: str
) -> None:
    served = serve(Complains, columns(text="string"))
    assert served.failure({"instances": [word]}) == message
    assert served.failure({"instances": ["again"]}) == "again"


@pytest.mark.parametrize("word", ["panic", "exit", "unprintable"])
def test_whatever_the_model_raises_is_a_model_error(load: Load, word: str) -> None:
    protocol = Protocol(load(Complains, columns(text="string")))
    request = protocol.parse(JSON, b'{"instances": ["%s"]}' % word.encode())
    with pytest.raises(ModelError) as caught:
        protocol.predict(request)
    assert caught.value.__cause__ is not None


def test_exceptions_without_a_message_go_by_their_name() -> None:
    assert describe(ValueError()) == "ValueError"


def test_error_bodies_are_json_whatever_the_message() -> None:
    body = error_body("BAD_REQUEST", 'lone \ud800, "quoted", \x00')
    assert json.loads(body) == {
        "error_code": "BAD_REQUEST",
        "message": 'lone \\ud800, "quoted", \x00',
    }
