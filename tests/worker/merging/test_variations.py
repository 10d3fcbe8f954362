"""Rows to try a model with come from its example, or from its signature."""

from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from server.worker.merging.variations import row_of_signature, rows_of_example, vary
from tests.support.models import SavedModels


@pytest.mark.parametrize(
    ("example", "rows"),
    [
        ('{"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}', [{"a": 1}, {"a": 2}]),
        ('{"dataframe_split": {"columns": ["a"], "data": [[NaN]]}}', [{"a": None}]),
        ('{"dataframe_split": {"columns": ["a"], "data": [[1, 2], 3]}}', []),
        ('{"dataframe_split": {"data": [[1]]}}', []),
        ('{"dataframe_records": [{"a": 1}]}', [{"a": 1}]),
        ('{"inputs": ["a", "b"]}', ["a", "b"]),
        ('{"inputs": {"a": [1, 2], "b": [3, 4]}}', [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ('{"inputs": {"a": [1, 2], "b": [3]}}', []),
        ('{"inputs": {"a": [1, 2], "b": 3}}', []),
        ('{"inputs": {}}', []),
        ('{"messages": []}', []),
        ("[1]", []),
    ],
)
def test_the_rows_of_an_example(example: str, rows: list[Any]) -> None:
    assert rows_of_example(example) == rows


@pytest.mark.parametrize(
    "type_",
    [
        Array(DataType.string),
        Object([Property("a", DataType.long)]),
        Map(DataType.string),
        AnyType(),  # type: ignore[no-untyped-call]
        DataType.binary,
        DataType.datetime,
    ],
    ids=["array", "object", "map", "any", "binary", "datetime"],
)
def test_no_row_is_made_for_other_types_than_text_and_numbers(
    saved: SavedModels, type_: Any
) -> None:
    signature = ModelSignature(inputs=Schema([ColSpec(DataType.long, "n"), ColSpec(type_, "a")]))
    path = saved.save("return [1] * len(model_input)", signature=signature, input_example=None)
    assert row_of_signature(mlflow.pyfunc.load_model(str(path))) == []


def test_variations_have_the_types_of_the_rows_and_other_values() -> None:
    rows: list[Any] = [{"text": "some text", "flag": True, "count": 3, "x": 1.5, "none": None}]
    varied: list[Any] = vary(rows, 16)
    assert varied[0] == rows[0]
    assert {tuple(map(type, row.values())) for row in varied} == {
        (str, bool, int, float, type(None))
    }
    assert len({row["text"] for row in varied}) == 16
    assert "" in {row["text"] for row in varied}
