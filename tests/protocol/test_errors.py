"""What is said about what went wrong, and whose fault it is."""

import json
import time
from typing import Any

import pytest

from server.worker.protocol import InvalidInput, ModelError, Protocol, error_body
from server.worker.protocol.errors import describe
from tests.protocol.conftest import Load
from tests.protocol.models import Complains, Complaint, Echo
from tests.protocol.support import answer, columns


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
def test_the_value_that_does_not_fit_is_named(load: Load, document: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        answer(Protocol(load(Echo, columns(a="double", b="long"))), document)
    assert caught.value.message == message
    assert caught.value.status == 400
    assert str(caught.value) == message


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
def test_inputs_are_not_repeated_whole(load: Load, document: Any, type_: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        answer(Protocol(load(Echo, columns(a=type_))), document)
    assert len(caught.value.message) <= 1003


@pytest.mark.parametrize("type_", ["double", "long", "datetime", "binary"])
def test_the_wrong_value_among_very_many_is_found_soon(load: Load, type_: str) -> None:
    good = {"double": 0.5, "long": 1, "datetime": "2024-05-06", "binary": "AA=="}[type_]
    rows = [[good]] * 50_000
    rows[40_000] = [[]]
    document = {"dataframe_split": {"columns": ["a"], "data": rows}}
    protocol = Protocol(load(Echo, columns(a=type_)))
    started = time.monotonic()
    with pytest.raises(InvalidInput, match="row 40000 has a list"):
        answer(protocol, document)
    assert time.monotonic() - started < 5


def test_schema_details_may_be_kept_back(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_SCHEMA_DETAILS", "true")
    with pytest.raises(InvalidInput, match=r"^Failed to enforce model input schema"):
        answer(Protocol(load(Echo, columns(a="double"))), {"dataframe_records": [{"b": 1}]})


@pytest.mark.parametrize("rows", [["oops"], ["oops", None]])
def test_what_the_model_raises_is_the_cause(load: Load, rows: list[Any]) -> None:
    with pytest.raises(ModelError) as caught:
        answer(Protocol(load(Complains, columns(text="string"))), {"instances": rows})
    assert isinstance(caught.value.__cause__, Complaint)
    assert caught.value.message == "oops"
    assert str(caught.value) == "oops"


def test_mlflows_exceptions_are_the_models_too(load: Load) -> None:
    with pytest.raises(ModelError, match=r"^the model's own complaint$"):
        answer(Protocol(load(Complains, columns(text="string"))), {"instances": ["mlflow"]})


def test_messages_of_exceptions_that_have_none() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert describe(ValueError()) == "ValueError"
    assert describe(Unprintable()) == "Unprintable"
    assert describe(ValueError("x" * 5000)) == "x" * 1000 + "..."


def test_error_bodies_are_json_whatever_the_message() -> None:
    body = error_body("BAD_REQUEST", 'lone \ud800, "quoted", \x00')
    assert json.loads(body) == {
        "error_code": "BAD_REQUEST",
        "message": 'lone \\ud800, "quoted", \x00',
    }
