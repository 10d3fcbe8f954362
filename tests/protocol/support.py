"""What the protocol's tests share: loading models, asking MLflow, comparing answers."""

import tempfile
import warnings
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import orjson
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import _parse_json_data
from mlflow.pyfunc import PyFuncModel
from mlflow.types import ColSpec, DataType, Schema

from tests.protocol import models


def load(model_class: type, directory: Path, signature: ModelSignature | None = None) -> PyFuncModel:
    """Save a model with a signature and load it again."""
    target = Path(tempfile.mkdtemp(dir=directory))
    data = target / "class"
    data.write_text(model_class.__name__)
    mlflow.pyfunc.save_model(
        str(target / "model"),
        loader_module=models.__name__,
        data_path=str(data),
        signature=signature,
        pip_requirements=[],
    )
    return mlflow.pyfunc.load_model(str(target / "model"))


def columns(*types: str, **named: str) -> ModelSignature:
    """Make a signature of columns: unnamed ones from types, named ones from keywords.

    A type with a question mark is optional.
    """
    specs = [ColSpec(type_) for type_ in types]
    for name, type_ in named.items():
        specs.append(ColSpec(type_.rstrip("?"), name, required=not type_.endswith("?")))
    return ModelSignature(inputs=Schema(specs))


def mlflows_answer(model: PyFuncModel, document: dict[str, Any]) -> Any:
    """Do what MLflow's scoring server does with a JSON body, up to writing the answer."""
    body = orjson.dumps(document) if not isinstance(document, bytes) else document
    parsed = _parse_json_data(body, model.metadata, model.metadata.get_input_schema())
    return model.predict(parsed.data, params=parsed.params)


def assert_same(ours: Any, theirs: Any) -> None:
    """Assert that two inputs of a model are alike in all that a model can see."""
    assert type(ours) is type(theirs)
    if isinstance(ours, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True, check_column_type="equiv")
        assert type(ours.index) is type(theirs.index)
        assert ours.columns.dtype == theirs.columns.dtype
        for (_, one), (_, other) in zip(ours.items(), theirs.items(), strict=True):
            assert one.dtype == other.dtype
            for mine, expected in zip(one, other, strict=True):
                assert_same(mine, expected)
        mine, expected = ours.to_numpy(), theirs.to_numpy()
        assert mine.flags.c_contiguous == expected.flags.c_contiguous
        assert mine.flags.f_contiguous == expected.flags.f_contiguous
        assert mine.strides == expected.strides or 1 in mine.shape
        assert mine.flags.writeable == expected.flags.writeable
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert_same(ours.tolist(), theirs.tolist())
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for mine, expected in zip(ours, theirs, strict=True):
            assert_same(mine, expected)
    else:
        assert ours == theirs or (ours != ours and theirs != theirs) or (pd.isna(ours) and pd.isna(theirs))
