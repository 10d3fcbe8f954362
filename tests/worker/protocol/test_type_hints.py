"""Input by type hint, against MLflow's own validation of it."""

import datetime
from typing import Any, Optional, Union

import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.types.type_hints import _validate_data_against_type_hint

from server.worker.protocol.type_hints import validate

CELLS: st.SearchStrategy[Any] = st.sampled_from([0, 1, 2.5, True, None, "a", "", 2**70, [], {}])
ROWS = st.recursive(
    CELLS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "count", "x", 0]), inner, max_size=3)
    ),
    max_leaves=8,
)


class Row(pydantic.BaseModel):
    """A row with values that pydantic would convert if MLflow were not strict before."""

    text: str
    count: float | None = None

    @pydantic.field_validator("text")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text:
            raise ValueError("a text is needed")
        return text.upper()


HINTS: list[Any] = [
    list[str],
    list[int],
    list[float],
    list[bool],
    list[Any],
    list[datetime.datetime],
    list[bytes],
    list[list[float]],
    list[dict[str, Any]],
    list[dict[str, float]],
    list[dict[str, list[str]]],
    list[Row],
    list[list[Row]],
    list[Optional[str]],  # noqa: UP045
    list[int | None],
    list[dict[str, str] | str],
    list[Union[str, int, None]],  # noqa: UP007
    dict[str, str],
    Row,
    Any,
]


def outcome(function: Any, data: Any, hint: Any) -> tuple[str, Any]:
    """What comes of validation: `repr` tells 1, 1.0 and true apart."""
    try:
        return "value", repr(function(data, hint))
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("hint", HINTS, ids=str)
@settings(deadline=None)
@given(data=ROWS | st.lists(ROWS, max_size=4))
def test_validation_is_mlflows(hint: Any, data: Any) -> None:
    assert outcome(validate, data, hint) == outcome(_validate_data_against_type_hint, data, hint)


@pytest.mark.parametrize(
    ("hint", "data"),
    [
        (list[str], ["a", "b"]),
        (list[list[float]], [[0.5, 1.5], [], [2.5]]),
        (list[dict[str, int]], [{"a": 1}, {}, {"b": 2, "c": 3}]),
        (list[dict[str, list[str]]], [{"a": ["x"], "b": []}, {"c": ["y", "z"]}]),
        (list[str | None], ["a", None]),
        (list[Row], [{"text": "a", "count": 1}, {"text": "b"}]),
    ],
    ids=str,
)
def test_what_fits_becomes_what_mlflow_makes_of_it(hint: Any, data: Any) -> None:
    expected = _validate_data_against_type_hint(data, hint)
    assert repr(validate(data, hint)) == repr(expected)


def test_a_model_gets_lists_and_objects_of_its_own() -> None:
    lists = [["a"], ["b"]]
    validate(lists, list[list[str]])[0].append("c")
    assert lists == [["a"], ["b"]]
    objects = [{"a": 1}]
    validate(objects, list[dict[str, int]])[0].pop("a")
    assert objects == [{"a": 1}]


def test_what_comes_as_other_things_than_json_is_left_to_mlflow() -> None:
    assert validate([Row(text="a")], list[Row]) == [Row(text="A")]
    with pytest.raises(MlflowException, match="Expected list, but got DataFrame"):
        validate(pd.DataFrame({"a": ["x"]}), list[str])
