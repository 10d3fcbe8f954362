"""What the protocol's tests share: signatures, tables in every format, and what MLflow does."""

import json
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import _parse_json_data
from mlflow.types import ColSpec, Schema, TensorSpec

from tests.worker.protocol.describing import description

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


def tensor(dtype: str, *shape: int, name: str | None = None) -> ModelSignature:
    """Return a signature of one tensor, which has no name unless one is given."""
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype(dtype), shape, name)]))


def named_tensors(**tensors: tuple[str, tuple[int, ...]]) -> ModelSignature:
    """Return a signature of tensors of these types and shapes."""
    specs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(dtype), shape, name) for name, (dtype, shape) in tensors.items()
    ]
    return ModelSignature(inputs=Schema(specs))


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


def mlflows_answer(model: PyFuncModel, document: Any) -> Any:
    """Return what the model answers when MLflow's own scoring server parses the document."""
    metadata: Any = model.metadata
    parse: Any = _parse_json_data
    parsed = parse(json.dumps(document).encode(), metadata, metadata.get_input_schema())
    return model.predict(parsed.data, params=parsed.params)


def assert_same(ours: Any, theirs: Any) -> None:
    """Assert that two inputs of a model are alike in all that a model can see of them."""
    assert description(ours) == description(theirs)
