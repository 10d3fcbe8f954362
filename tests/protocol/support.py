"""What the protocol's tests share: signatures, tables in every format, and what MLflow does."""

import json
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import _parse_json_data
from mlflow.types import ColSpec, Schema, TensorSpec

from server.worker.protocol import Protocol

JSON = "application/json"


def columns(*types: Any, **named: Any) -> ModelSignature:
    """Return a signature of columns: unnamed from types, named from keywords.

    A type written with a question mark is optional.
    """
    specs: list[ColSpec | TensorSpec] = [ColSpec(type_) for type_ in types]
    for name, type_ in named.items():
        optional = isinstance(type_, str) and type_.endswith("?")
        specs.append(ColSpec(type_.rstrip("?") if optional else type_, name, required=not optional))
    return ModelSignature(inputs=Schema(specs))


def tensor(dtype: str, *shape: int) -> ModelSignature:
    """Return a signature of one unnamed tensor."""
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype(dtype), shape)]))


def documents(table: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Return JSON documents that hold a table, in every form that MLflow has for it."""
    rows = [list(row) for row in zip(*table.values(), strict=True)]
    records = [dict(zip(table, row, strict=True)) for row in rows]
    forms: dict[str, dict[str, Any]] = {
        "split": {"dataframe_split": {"columns": list(table), "data": rows}},
        "split with index": {
            "dataframe_split": {"columns": list(table), "data": rows, "index": [*range(len(rows))]}
        },
        "records": {"dataframe_records": records},
        "instances of records": {"instances": records},
        "instances of columns": {"instances": table},
        "inputs of columns": {"inputs": table},
    }
    if len(rows) == 1:
        forms["instances of one"] = {"instances": records[0]}
        forms["inputs of one"] = {"inputs": records[0]}
    if len(table) == 1:
        (values,) = table.values()
        forms["instances of values"] = {"instances": values}
        forms["inputs of values"] = {"inputs": values}
    return forms


def answer(protocol: Protocol, document: Any) -> Any:
    """Return what the model answers to a JSON document."""
    return protocol.predict(protocol.parse(JSON, json.dumps(document).encode()))


def mlflows_answer(model: PyFuncModel, document: Any) -> Any:
    """Return what the model answers when MLflow's own scoring server parses the document."""
    metadata: Any = model.metadata
    parse: Any = _parse_json_data
    parsed = parse(json.dumps(document).encode(), metadata, metadata.get_input_schema())
    return model.predict(parsed.data, params=parsed.params)


def assert_same(ours: Any, theirs: Any) -> None:
    """Assert that two inputs of a model are alike in all that a model can see of them."""
    # MLflow makes a single binary value a numpy scalar, which is a kind of bytes.
    assert type(ours) is type(theirs) or isinstance(theirs, bytes)
    if isinstance(ours, pd.DataFrame):
        _assert_same_frame(ours, theirs)
    elif isinstance(ours, pd.Series):
        pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert_same(ours.tolist(), theirs.tolist())
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        assert_same(list(ours.values()), list(theirs.values()))
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for mine, expected in zip(ours, theirs, strict=True):
            assert_same(mine, expected)
    else:
        assert ours == theirs or (pd.isna(ours) and pd.isna(theirs))


def _assert_same_frame(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert type(ours.index) is type(theirs.index)
    assert ours.columns.dtype == theirs.columns.dtype
    assert list(ours.dtypes) == list(theirs.dtypes)
    for (_, mine), (_, expected) in zip(ours.items(), theirs.items(), strict=True):
        assert_same(mine.tolist(), expected.tolist())
    array, other = ours.to_numpy(), theirs.to_numpy()
    assert array.flags.writeable == other.flags.writeable
    # The memory order decides the order in which a model's arithmetic adds up.
    assert array.flags.c_contiguous == other.flags.c_contiguous
    assert array.flags.f_contiguous == other.flags.f_contiguous
    assert array.strides == other.strides or 1 in array.shape
