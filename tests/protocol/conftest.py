"""Fixtures that load models for the protocol's tests."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel

from tests.protocol import models

Load = Callable[..., PyFuncModel]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves a model of a class of `tests.protocol.models`, with a signature."""
    directory = tmp_path_factory.mktemp("models")

    def save(model: type, signature: ModelSignature | None = None, **options: Any) -> Path:
        path = Path(tempfile.mkdtemp(dir=directory))
        name = path / "class"
        name.write_text(model.__name__)
        if issubclass(model, mlflow.pyfunc.PythonModel):
            options["python_model"] = model()
        else:
            options |= {"loader_module": models.__name__, "data_path": str(name)}
        with warnings.catch_warnings(action="ignore"):
            mlflow.pyfunc.save_model(
                str(path / "model"), signature=signature, pip_requirements=[], **options
            )
        return path / "model"

    return save


@pytest.fixture(scope="session")
def load(save: Callable[..., Path]) -> Load:
    """Saves a model and loads it, once for each class, signature and options."""
    loaded: dict[str, PyFuncModel] = {}

    def load(model: type, signature: ModelSignature | None = None, **options: Any) -> PyFuncModel:
        key = repr((model, signature and signature.to_dict(), options))
        if key not in loaded:
            path = save(model, signature, **options)
            with warnings.catch_warnings(action="ignore"):
                loaded[key] = mlflow.pyfunc.load_model(str(path))
        return loaded[key]

    return load
