"""Where the files of a registered version may be.

Whoever registers a version says where they are, and a path there is one of the machine that serves.
MLflow's own server takes no other paths than those within the artifacts of the run or the logged
model that the version comes from (`_validate_source_run` and `_validate_source_model` in
mlflow/server/handlers.py); older ones did, and not every registry is behind one. As there, the
location of an experiment is not enough: whoever makes an experiment chooses it.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_plus, urlparse

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.utils.file_utils import local_file_uri_to_path

OUTSIDE = (
    "its source is a path on this machine that is not within the artifacts of its run or logged "
    "model (ALLOW_LOCAL_SOURCES=1 takes it all the same)"
)
CLIMBS = "its source has '..' in it"

# What MLflow reads from this machine, whichever host is named
# (mlflow/store/artifact/artifact_repository_registry.py).
_PATHS = ("", "file")
# As `create_logged_model` in mlflow/store/tracking/sqlalchemy_store.py makes them.
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
# The second for what can't be an id.
_NOT_THERE = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE))


class _Place(NamedTuple):
    """Where a version's files are, and the locations, each by its id, that they may be within."""

    location: str
    artifacts: dict[str, str]


# Of the version that was asked about last, as none of this changes for as long as it is there.
_known: dict[tuple[str | None, ...], _Place] = {}


def source_problem(client: MlflowClient, registry_uri: str, found: RegisteredVersion) -> str | None:
    """Why a version must not be loaded from where its files are said to be; None if it may.

    Nothing is asked about one whose source is not on this machine.

    Raises:
        MlflowException: nothing could be learnt about it.
    """
    if _is_at_home(registry_uri):
        return None
    source = found.source or ""
    if _scheme(source) not in (*_PATHS, "models"):
        return CLIMBS if _climbs(source) else None
    key = (found.name, str(found.version), found.run_id, source)
    place = _known.get(key)
    if place is None:
        place = _ask(client, found)
        _known.clear()
        _known[key] = place
    if _scheme(place.location) not in _PATHS:
        return CLIMBS if _climbs(place.location) else None
    # Each time anew: there may be links in it.
    return None if _is_within(place) else OUTSIDE


def _is_at_home(registry_uri: str) -> bool:
    """Whether those who write to a registry have a say on this machine anyway; or whether it hands
    out nothing but what it has stored itself, as that of Databricks does."""
    scheme = _scheme(registry_uri)
    return scheme in _PATHS or scheme.split("+")[0] in ("sqlite", "databricks", "databricks-uc")


def _scheme(uri: str) -> str:
    if uri in ("databricks", "databricks-uc"):
        return uri
    try:
        return urlparse(uri).scheme
    except ValueError:
        return ""


def _climbs(uri: str) -> bool:
    """As `_validate_non_local_source_contains_relative_paths` in mlflow/server/handlers.py."""
    while (unquoted := unquote_plus(uri)) != uri:
        uri = unquoted
    return ".." in uri.split("/")


def _ask(client: MlflowClient, found: RegisteredVersion) -> _Place:
    location: str = client.get_model_version_download_uri(found.name, str(found.version))
    if _scheme(location) == "models":
        location = ModelsArtifactRepository.get_underlying_uri(location)  # type: ignore[no-untyped-call]
    artifacts: dict[str, str] = {}
    if _scheme(location) in _PATHS:
        with _none_there():
            if found.run_id:
                artifacts[found.run_id] = client.get_run(found.run_id).info.artifact_uri
        # MLflow's database does not keep which logged model a version comes from.
        model_id = found.model_id or next(iter(_MODEL_ID.findall(location)), None)
        with _none_there():
            if model_id:
                artifacts[model_id] = client.get_logged_model(model_id).artifact_location
    return _Place(location, artifacts)


@contextlib.contextmanager
def _none_there() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code not in _NOT_THERE:
            raise


def _is_within(place: _Place) -> bool:
    path = _path(place.location)
    if path is None:
        return False
    within = (path, *path.parents)
    return any(
        # MLflow puts the id there: whoever chooses what is before it chooses no path that exists.
        name in urlparse(uri).path.split("/") and _path(uri) in within
        for name, uri in place.artifacts.items()
        if _scheme(uri) in _PATHS
    )


def _path(location: str) -> Path | None:
    """What MLflow reads, without links (`LocalArtifactRepository.__init__`)."""
    try:
        return Path(local_file_uri_to_path(location)).resolve()  # type: ignore[no-untyped-call]
    except (ValueError, OSError, RuntimeError):  # no path at all, or links in a circle
        return None
