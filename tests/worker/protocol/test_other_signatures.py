"""Tensors, type hints, examples for type hints, and no signature at all."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec
from mlflow.types.schema import DataType

from tests.worker.protocol.conftest import Serve
from tests.worker.protocol.models import (
    Context,
    Describes,
    DescribesParams,
    Echo,
    EchoParams,
    Frames,
    FromExample,
    Texts,
    Words,
)
from tests.worker.protocol.support import (
    columns,
    documents,
    mlflows_answer,
    named_tensors,
    tensor,
)
from tests.worker.protocol.workers import assert_same_or_refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool", "str", "object"])
@pytest.mark.parametrize("shape", [(-1,), (-1, 2), (2, 2), (-1, -1), (-1, 2, 2)])
def test_one_tensor(serve: Serve, dtype: str, shape: tuple[int, ...]) -> None:
    served = serve(Describes, tensor(dtype, *shape))
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
        assert_same_or_refused(served, {"inputs": value})
        assert_same_or_refused(served, {"instances": value})
        assert_same_or_refused(served, {"dataframe_split": {"data": value}})
    for document in documents({"a": [1, 2], "b": [3, 4]}).values():
        assert_same_or_refused(served, document)


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": {"a": [[1, 2], [3, 4]], "b": [0.5, 1.5]}},
        {"inputs": {"b": [0.5, 1.5], "a": [[1, 2], [3, 4]]}},
        {"inputs": {"a": [[1, 2]], "b": [0.5, 1.5]}},
        {"inputs": {"a": [[1, 2], [3, 4]], "b": [0.5, 1.5], "c": [1, 2]}},
        {"inputs": [{"a": [1, 2], "b": 0.5}]},
        {"inputs": [[1, 2], [3, 4]]},
        {"instances": [{"a": [1, 2], "b": 0.5}, {"a": [3, 4], "b": 1.5}]},
        {"instances": [{"a": [1, 2], "b": 0.5}, {"b": 1.5, "a": [3, 4]}]},
        {"instances": [{"a": [1, 2], "b": 0.5}, {"a": [3, 4]}]},
        {"instances": [{"a": [1, 2], "b": 0.5}, {"a": [3], "b": 1.5}]},
        {"instances": {"a": [[1, 2], [3, 4]], "b": [0.5, 1.5]}},
        {"instances": {"a": [[1, 2], [3, 4]], "b": [0.5]}},
        {"instances": {"a": [[1, 2]], "b": 0.5}},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[[1, 2], 0.5]]}},
        {"inputs": {"a": [[1, 2], [3, 4]]}},
        {"inputs": {"a": [1, 2], "b": [0.5, 1.5]}},
    ],
)
def test_named_tensors(serve: Serve, document: Any) -> None:
    signature = named_tensors(a=("int64", (-1, 2)), b=("float64", (-1,)))
    assert_same_or_refused(serve(Describes, signature), document)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool", "str", "object"])
@pytest.mark.parametrize("form", ["inputs", "instances", "rows", "unnamed", "unnamed instances"])
def test_large_tensors(serve: Serve, dtype: str, form: str) -> None:
    shape = (-1, 3, 8, 8)
    named = not form.startswith("unnamed")
    served = serve(Describes, named_tensors(a=(dtype, shape)) if named else tensor(dtype, *shape))
    values = np.random.default_rng(0).integers(0, 256, (30, *shape[1:])).tolist()
    documents = {
        "inputs": {"inputs": {"a": values}},
        "instances": {"instances": values},
        "rows": {"instances": [{"a": value} for value in values]},
        "unnamed": {"inputs": values},
        "unnamed instances": {"instances": values},
    }
    document = documents[form]
    assert served.answer(document) == mlflows_answer(served.model, document)
    values[7][1][2][3] = None
    assert_same_or_refused(served, document)
    values[7][1][2][3] = [1]
    assert_same_or_refused(served, document)


def test_texts_that_would_take_too_much_room_are_refused(serve: Serve) -> None:
    served = serve(Describes, named_tensors(a=("str", (-1,))))
    texts = ["x" * 100_000, *["y"] * 20_000]
    for document in ({"inputs": {"a": texts}}, {"inputs": texts}):
        assert "an array of 20001 texts" in served.refusal(document)
    numbers = serve(Describes)
    assert "an array of 20001 texts" in numbers.refusal({"inputs": texts})


def test_a_wrong_tensor_is_told_what_fits(serve: Serve) -> None:
    served = serve(Describes, tensor("float64", -1, 2))
    message = served.refusal({"inputs": [[1, "x"]]})
    assert "Tensor('float64', (-1, 2))" in message
    assert "'x'" in message
    message = served.refusal({"inputs": [[1, 2, 3]]})
    assert "(1, 3) does not match expected shape (-1, 2)" in message


@pytest.mark.filterwarnings("ignore")
def test_no_signature(serve: Serve) -> None:
    served = serve(Describes)
    tables: list[dict[str, list[Any]]] = [
        {"text": ["a", "b"]},
        {"a": [1, 2], "b": [0.5, None], "c": ["x", None], "d": [True, False]},
        {"a": [[1, 2], [3, 4]]},
        {"a": [{"x": 1}, None]},
        {"a": []},
    ]
    for table in tables:
        for document in documents(table).values():
            assert_same_or_refused(served, document)
    values: list[Any] = [1, "a", None, [[1, 2], [3, 4]], [[1], [2, 3]], {"a": {"b": 1}}]
    for value in values:
        assert_same_or_refused(served, {"inputs": value})
        assert_same_or_refused(served, {"instances": value})


def test_texts_by_type_hint(serve: Serve) -> None:
    served = serve(Texts)
    expected = served.model.predict(["a", "b"])
    assert served.answer({"inputs": ["a", "b"]}) == expected == ["A", "B"]
    # MLflow takes `inputs` only.
    assert served.answer({"instances": ["a", "b"]}) == expected
    # And does not look at what stands beside it.
    beside = {"inputs": ["a", "b"], "instances": ["c"], "dataframe_split": {"data": [["d"]]}}
    assert served.answer(beside) == mlflows_answer(served.model, beside) == expected
    assert "'inputs', not 'dataframe_split'" in served.refusal(
        {"dataframe_split": {"data": [["a"]]}}
    )
    assert "Expected type str, but got int" in served.refusal({"inputs": ["a", 1]})


def test_objects_by_type_hint(serve: Serve) -> None:
    served = serve(Words)
    words = [{"text": "a", "count": 2}, {"text": "b"}]
    assert served.answer({"inputs": words}) == served.model.predict(words) == ["aa", "b"]
    assert "count" in served.refusal({"inputs": [{"text": "a", "count": "x"}]})


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
def test_examples_for_type_hints(serve: Serve, example: Any, document: Any) -> None:
    served = serve(FromExample, input_example=example)
    assert served.answer(document) == mlflows_answer(served.model, document)


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
def test_params(serve: Serve, params: Any, column: str) -> None:
    served = serve(
        DescribesParams,
        _with_params(
            ParamSpec("temperature", DataType.double, 0.25),
            ParamSpec("words", DataType.string, ["a"], shape=(-1,)),
        ),
    )
    assert_same_or_refused(served, {"instances": [{column: "x"}], "params": params})


def test_params_without_a_schema_for_them(serve: Serve) -> None:
    served = serve(DescribesParams, columns(text="string"))
    for params in ({"a": 1}, {}, None):
        assert_same_or_refused(served, {"instances": ["x"], "params": params})


def test_params_of_a_python_model(serve: Serve) -> None:
    served = serve(Frames, _with_params(ParamSpec("times", DataType.long, 2)))
    frame = pd.DataFrame({"text": ["x"]})
    assert served.answer({"instances": ["x"]}) == served.model.predict(frame) == ["xx"]
    expected = served.model.predict(frame, params={"times": 3})
    assert served.answer({"instances": ["x"], "params": {"times": 3}}) == expected == ["xxx"]


@pytest.mark.parametrize("document", [{"instances": ["x"]}, {"instances": ["x", None]}])
def test_the_prediction_context_is_set(serve: Serve, document: Any) -> None:
    assert serve(Context, columns(text="string")).answer(document) is True


@pytest.mark.parametrize(
    "document",
    [
        {"messages": [{"role": "user", "content": "hi"}], "temperature": 1, "n": 2},
        {"prompt": "hi"},
        {"input": ["hi"]},
        {"input": "hi", "instances": ["ignored"]},
    ],
)
def test_unified_format(serve: Serve, document: Any) -> None:
    served = serve(Describes)
    assert served.answer(document) == mlflows_answer(served.model, document)


def test_unified_format_takes_the_signatures_params(serve: Serve) -> None:
    signature = ModelSignature(params=ParamSchema([ParamSpec("temperature", DataType.double, 0.5)]))
    served = serve(EchoParams, signature)
    document = {"messages": [], "temperature": 1}
    expected = mlflows_answer(served.model, document)
    assert served.answer(document) == expected == {"temperature": 1.0}


def test_unified_answers_have_no_wrapper(serve: Serve) -> None:
    assert serve(Echo).worker.ask(b'{"prompt": "hi"}').body == b'{"prompt":"hi"}'
