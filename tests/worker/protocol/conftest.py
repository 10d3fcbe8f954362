"""Fixtures that save models for the protocol's tests, load them, and start workers of them."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel

from server.worker.loading import load as load_model
from server.worker.protocol import Protocol
from tests.support.models import SavedModels
from tests.support.processes import Processes
from tests.worker.protocol import models
from tests.worker.protocol.workers import Served, Worker

Save = Callable[..., Path]
Load = Callable[..., PyFuncModel]
Serve = Callable[..., Served]
Speaking = Callable[[str], Protocol]


@pytest.fixture(scope="session")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Saves a model of a class of `tests.worker.protocol.models`, with a signature, once for each
    class, signature and options."""
    directory = tmp_path_factory.mktemp("models")
    saved: dict[str, Path] = {}

    def save(model: type, signature: ModelSignature | None = None, **options: Any) -> Path:
        key = repr((model, signature and signature.to_dict(), options))
        if key not in saved:
            saved[key] = _save(Path(tempfile.mkdtemp(dir=directory)), model, signature, options)
        return saved[key]

    return save


def _save(
    directory: Path, model: type, signature: ModelSignature | None, options: dict[str, Any]
) -> Path:
    if issubclass(model, mlflow.pyfunc.PythonModel):
        options["python_model"] = model()
    else:
        name = directory / "class"
        name.write_text(model.__name__)
        options |= {"loader_module": models.__name__, "data_path": str(name)}
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.save_model(
            str(directory / "model"), signature=signature, pip_requirements=[], **options
        )
    return directory / "model"


@pytest.fixture(scope="session")
def load(save: Save) -> Load:
    """Saves a model and loads it into the process of the tests, once."""
    loaded: dict[Path, PyFuncModel] = {}

    def load(model: type, signature: ModelSignature | None = None, **options: Any) -> PyFuncModel:
        path = save(model, signature, **options)
        if path not in loaded:
            with warnings.catch_warnings(action="ignore"):
                loaded[path] = mlflow.pyfunc.load_model(str(path))
        return loaded[path]

    return load


@pytest.fixture(scope="package")
def serve(
    save: Save, load: Load, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """Saves a model, loads it and starts a worker process that serves it, once."""
    served: dict[Path, Served] = {}

    def serve(model: type, signature: ModelSignature | None = None, **options: Any) -> Served:
        path = save(model, signature, **options)
        if path not in served:
            worker = Worker(processes, path, tmp_path_factory.mktemp("worker"))
            served[path] = Served(worker, load(model, signature, **options))
        return served[path]

    yield serve
    for one in served.values():
        one.worker.stop()


@pytest.fixture(scope="session")
def speaking(saved: SavedModels) -> Speaking:
    """The protocol of a model that speaks `chat`, `agent` or `responses`, loaded once."""

    @cache
    def speaking(speaks: str) -> Protocol:
        # That some of them are deprecated.
        with warnings.catch_warnings(action="ignore"):
            return Protocol(load_model(str(saved.speaking(speaks))))

    return speaking
