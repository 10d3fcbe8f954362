"""Tensors, type hints, examples for type hints, and no signature at all."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import DataType

from server.worker.protocol import InvalidInput, Protocol
from tests.protocol.conftest import Load
from tests.protocol.models import Context, Echo, EchoParams, Frames, FromExample, Texts, Words
from tests.protocol.support import (
    JSON,
    answer,
    assert_same,
    columns,
    documents,
    mlflows_answer,
    tensor,
)
from tests.protocol.test_columns import assert_same_or_refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool", "str", "object"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 2), (2, 2), (-1, -1), (-1, 2, 2)])
def test_one_tensor(load: Load, dtype: str, shape: tuple[int, ...]) -> None:
    model = load(Echo, tensor(dtype, *shape))
    values: list[Any] = [
        [1, 2],
        [1.5, -0.5],
        [[1, 2], [3, 4]],
        [[1.5, None]],
        [[True, False]],
        [["1", "2"], ["x", "y"]],
        [[[1, 2], [3, 4]]],
        [[1, 2], [3]],
        [2**63, 2**70],
        [],
        1,
        None,
        {"a": [1, 2]},
    ]
    for value in values:
        assert_same_or_refused(model, {"inputs": value})
        assert_same_or_refused(model, {"instances": value})
        assert_same_or_refused(model, {"dataframe_split": {"data": value}})
    for document in documents({"a": [1, 2], "b": [3, 4]}).values():
        assert_same_or_refused(model, document)


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {"a": [[1, 2], [3, 4]], "b": [0.5, 1.5]}},
        {"instances": [{"a": [1, 2], "b": 0.5}, {"a": [3, 4], "b": 1.5}]},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[[1, 2], 0.5]]}},
        {"inputs": {"a": [[1, 2], [3, 4]]}},
        {"inputs": {"a": [1, 2], "b": [0.5, 1.5]}},
    ],
)
def test_named_tensors(load: Load, document: Any) -> None:
    specs = [
        TensorSpec(np.dtype("int64"), (-1, 2), "a"),
        TensorSpec(np.dtype("float64"), (-1,), "b"),
    ]
    assert_same_or_refused(load(Echo, ModelSignature(inputs=Schema([*specs]))), document)


def test_a_wrong_tensor_is_told_what_fits(load: Load) -> None:
    protocol = Protocol(load(Echo, tensor("float64", -1, 2)))
    with pytest.raises(InvalidInput, match=r"Tensor\('float64', \(-1, 2\)\).*'x'"):
        answer(protocol, {"inputs": [[1, "x"]]})
    with pytest.raises(InvalidInput, match=r"\(1, 3\) does not match expected shape \(-1, 2\)"):
        answer(protocol, {"inputs": [[1, 2, 3]]})


@pytest.mark.filterwarnings("ignore")
def test_no_signature(load: Load) -> None:
    model = load(Echo)
    tables: list[dict[str, list[Any]]] = [
        {"text": ["a", "b"]},
        {"a": [1, 2], "b": [0.5, None], "c": ["x", None], "d": [True, False]},
        {"a": [[1, 2], [3, 4]]},
        {"a": [{"x": 1}, None]},
        {"a": []},
    ]
    for table in tables:
        for document in documents(table).values():
            assert_same_or_refused(model, document)
    values: list[Any] = [1, "a", None, [[1, 2], [3, 4]], [[1], [2, 3]], {"a": {"b": 1}}]
    for value in values:
        assert_same_or_refused(model, {"inputs": value})
        assert_same_or_refused(model, {"instances": value})


def test_texts_by_type_hint(load: Load) -> None:
    protocol = Protocol(load(Texts))
    assert answer(protocol, {"inputs": ["a", "b"]}) == ["A", "B"]
    # MLflow takes `inputs` only.
    assert answer(protocol, {"instances": ["a", "b"]}) == ["A", "B"]
    with pytest.raises(InvalidInput, match="'inputs', not 'dataframe_split'"):
        answer(protocol, {"dataframe_split": {"data": [["a"]]}})
    with pytest.raises(InvalidInput, match="Expected type str, but got int"):
        answer(protocol, {"inputs": ["a", 1]})


def test_objects_by_type_hint(load: Load) -> None:
    protocol = Protocol(load(Words))
    document = {"inputs": [{"text": "a", "count": 2}, {"text": "b"}]}
    assert answer(protocol, document) == ["aa", "b"]
    with pytest.raises(InvalidInput, match="count"):
        answer(protocol, {"inputs": [{"text": "a", "count": "x"}]})


@pytest.mark.parametrize(
    ("example", "document"),
    [
        (["x", "y"], {"instances": ["a", "b"]}),
        ([{"a": 1, "b": "x"}], {"instances": [{"a": 1, "b": "x"}]}),
        ({"a": 1, "b": "x"}, {"instances": [{"a": 2, "b": "y"}]}),
        ("x", {"instances": ["a"]}),
        (pd.DataFrame({"a": [1]}), {"instances": [{"a": 2}]}),
    ],
    ids=["list", "records", "record", "scalar", "frame"],
)
def test_examples_for_type_hints(load: Load, example: Any, document: Any) -> None:
    model = load(FromExample, input_example=example)
    assert_same(answer(Protocol(model), document), mlflows_answer(model, document))


def _with_params(*params: ParamSpec) -> ModelSignature:
    signature = columns(text="string")
    return ModelSignature(inputs=signature.inputs, params=ParamSchema([*params]))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 1},
        {"temperature": 0.5, "words": ["x"]},
        {"unknown": 1},
        None,
        {"temperature": "hot"},
        {"words": "x"},
        [1],
        "x",
    ],
)
@pytest.mark.parametrize("column", ["text", "nothing"])
def test_params(load: Load, params: Any, column: str) -> None:
    model = load(
        EchoParams,
        _with_params(
            ParamSpec("temperature", DataType.double, 0.25),
            ParamSpec("words", DataType.string, ["a"], shape=(-1,)),
        ),
    )
    assert_same_or_refused(model, {"instances": [{column: "x"}], "params": params})


def test_params_without_a_schema_for_them(load: Load) -> None:
    model = load(EchoParams, columns(text="string"))
    for params in ({"a": 1}, {}, None):
        assert_same_or_refused(model, {"instances": ["x"], "params": params})


def test_params_of_a_python_model(load: Load) -> None:
    model = load(Frames, _with_params(ParamSpec("times", DataType.long, 2)))
    assert answer(Protocol(model), {"instances": ["x"]}) == ["xx"]
    assert answer(Protocol(model), {"instances": ["x"], "params": {"times": 3}}) == ["xxx"]


@pytest.mark.parametrize("document", [{"instances": ["x"]}, {"instances": ["x", None]}])
def test_the_prediction_context_is_set(load: Load, document: Any) -> None:
    assert answer(Protocol(load(Context, columns(text="string"))), document) is True


@pytest.mark.parametrize(
    "document",
    [
        {"messages": [{"role": "user", "content": "hi"}], "temperature": 1, "n": 2},
        {"prompt": "hi"},
        {"input": ["hi"]},
        {"input": "hi", "instances": ["ignored"]},
    ],
)
def test_unified_format(load: Load, document: Any) -> None:
    protocol = Protocol(load(Echo))
    request = protocol.parse(JSON, json.dumps(document).encode())
    assert request.format == "unified"
    assert request.merge_key is None
    assert_same(protocol.predict(request), mlflows_answer(load(Echo), document))


def test_unified_format_takes_the_signatures_params(load: Load) -> None:
    signature = ModelSignature(params=ParamSchema([ParamSpec("temperature", DataType.double, 0.5)]))
    model = load(EchoParams, signature)
    document = {"messages": [], "temperature": 1}
    assert answer(Protocol(model), document) == {"temperature": 1.0}
    assert_same(answer(Protocol(model), document), mlflows_answer(model, document))


def test_unified_answers_have_no_wrapper(load: Load) -> None:
    protocol = Protocol(load(Echo))
    request = protocol.parse(JSON, b'{"prompt": "hi"}')
    assert protocol.encode(request, protocol.predict(request)) == b'{"prompt":"hi"}'
