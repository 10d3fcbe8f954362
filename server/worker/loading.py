"""Fetching and loading one concrete model version."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow
import mlflow.artifacts
import orjson
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import load_model_with_mlflow_config
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_models_uri

from . import strict_json
from .links import refuse_links_out
from .spec import DownloadSpec

# In characters of JSON; the description of the routes shows the example.
_LARGEST_EXAMPLE = 64 * 1024


def fetch(spec: DownloadSpec) -> str:
    """Download the model, and return its local path.

    Whatever the artifact store raises is passed on.

    Raises:
        LeadsOut: one of its files is a link to another file of this machine.
    """
    destination = Path(spec.directory) / "model"
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _no_database_made():
        if spec.registered:
            _look_for_links(spec.load_uri)
        # With a destination of its own: without one, MLflow leaves a temporary directory behind.
        path: str = mlflow.artifacts.download_artifacts(
            artifact_uri=spec.load_uri, dst_path=str(destination)
        )
    # MLflow copies what a link leads to; other stores may bring links along.
    refuse_links_out(path)
    return path


def _look_for_links(uri: str) -> None:
    """Look at the files of a registered version where MLflow would copy them from this machine."""
    if is_models_uri(uri):
        uri = ModelsArtifactRepository.get_underlying_uri(uri)  # type: ignore[no-untyped-call]
    if urlparse(uri).scheme in ("", "file"):
        path: str = local_file_uri_to_path(uri)  # type: ignore[no-untyped-call]
        if Path(path).is_dir():
            refuse_links_out(path)


@contextmanager
def _no_database_made() -> Iterator[None]:
    """Where only a registry is named, have MLflow ask that for everything.

    Its client opens a tracking store as well, and would make a database for it in the working
    directory. Whoever is ended meanwhile, as a worker may be, leaves it broken for good.
    """
    path = Path(mlflow.get_tracking_uri().removeprefix("sqlite:///"))
    named: bool = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    if not registry or named or path.exists():
        yield
        return
    os.environ["MLFLOW_TRACKING_URI"] = registry
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]


def load(path: str) -> PyFuncModel:
    """Load the model at a local path; runs the model's code, which may raise anything.

    The variable `SERVING_MODEL_CONFIG` holds the model's configuration, as JSON.
    """
    # Models may ask whether they serve; MLflow's own scoring server says so by this variable
    # (mlflow/pyfunc/scoring_server/__init__.py).
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    # Modules in the working directory are found there, since uvicorn, which it is started by, adds
    # that to the path (--app-dir). `mlflow-live-server` has left it out until here.
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, "")
    model: PyFuncModel = load_model_with_mlflow_config(path)  # type: ignore[no-untyped-call]
    return model


def describe(model: PyFuncModel, example: str | None) -> dict[str, Any]:
    """What the gateway tells of a loaded model, as values that JSON holds.

    Args:
        example: A request that the model brought as its input example.
    """
    metadata: Any = model.metadata
    signature = metadata.signature.to_dict() if metadata.signature is not None else None
    return {
        "run_id": metadata.run_id,
        "model_id": metadata.model_id,
        "model_uuid": metadata.model_uuid,
        "mlflow_version": metadata.mlflow_version,
        "flavors": sorted(metadata.flavors),
        "signature": signature,
        "from_type_hint": metadata._is_signature_from_type_hint(),
        "example": _readable(example) if example is not None else None,
    }


def _readable(example: str) -> Any:
    """The example as it can be shown, or None where it can't."""
    if len(example) > _LARGEST_EXAMPLE:
        return None
    try:
        return orjson.loads(strict_json.dumps(json.loads(example)))
    except (ValueError, RecursionError):
        return None
