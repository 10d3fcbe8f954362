"""Rows to try a model with come from its example, or from its signature."""

import json
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from server.worker.merging.variations import row_of_signature, rows_of_example, vary, vary_example
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


@pytest.mark.parametrize(
    "example",
    [
        {
            "dataframe_split": {
                "columns": ["a"],
                "data": [["some text"], ["other"]],
                "index": [0, 1],
            }
        },
        {"dataframe_records": [{"a": "some text", "b": 1.5}], "params": {"depth": 3}},
        {"instances": [[1, 2], [3, 4]]},
        {"inputs": {"a": ["some text"]}},
        {"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "n": 1},
        {"input": "hi", "temperature": 0.5},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]},
        {"prompt": "once upon a time", "max_tokens": 3},
    ],
)
def test_a_request_like_an_example_has_other_values_in_the_same_places(example: Any) -> None:
    varied = vary_example(json.dumps(example))
    assert varied is not None
    assert varied == vary_example(json.dumps(example))
    before, after = leaves(example), leaves(json.loads(varied))
    assert before.keys() == after.keys()
    changed = [path for path in before if after[path] != before[path]]
    assert changed
    for path in changed:
        assert type(after[path]) is type(before[path])
        assert {"role", "type", "params", "columns", "index"}.isdisjoint(path)
    assert ("messages", 0, "content") not in changed


@pytest.mark.parametrize("example", ["[1]", "{}", '{"inputs": [null]}', '{"messages": []}'])
def test_what_has_no_other_values_is_not_varied(example: str) -> None:
    assert vary_example(example) is None


def leaves(value: Any) -> dict[tuple[Any, ...], Any]:
    """The values that hold no others, by the keys and places that lead there."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {(key, *path): leaf for key, item in items for path, leaf in leaves(item).items()}
    return {(): value}
