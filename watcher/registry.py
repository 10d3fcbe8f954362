"""Asking the Model Registry with MLflow's client. Runs in the look-up process only."""

import os
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion as RegisteredVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from watcher.databases import expect_ready, is_missing_file
from watcher.model_uri import Form, ModelUri
from watcher.sources import source_problem
from watcher.versions import (
    ModelVersion,
    RegistryError,
    RegistryUnreachable,
    VersionMissing,
    VersionPending,
)

# What the registry says when it did answer, and the answer is "there is none": a missing model or
# version is the first, a missing alias and a stage that does not exist are the second.
_MISSING = frozenset(ErrorCode.Name(c) for c in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE))

# Names of mlflow.entities.model_registry.model_version_status.
_PENDING = "PENDING_REGISTRATION"
_FAILED = "FAILED_REGISTRATION"

# As much as MLflow's own database holds of it.
_LONGEST_MESSAGE = 500

# What anybody may be told of errors that others have worded.
_UNSAID = "the server's log says why"

# A kept-alive connection that the registry closed meanwhile fails at once, and only once. Both
# tries have to fit in the time that a question has.
_SECOND_TRY_WITHIN_SECONDS = 0.5


def look_up(uri: ModelUri, *, allow_local_sources: bool = False) -> ModelVersion:
    """Find the version that `uri` means now.

    With several versions in a stage it is the one with the highest number, as
    `mlflow.store.artifact.utils.models._get_latest_model_version` has it.

    Args:
        allow_local_sources: Whether a registered version may lie anywhere on this machine, rather
            than only where MLflow keeps the artifacts of its run or logged model.

    Raises:
        VersionMissing: the registry answered that there is none.
        VersionPending: it is not registered yet.
        RegistryUnreachable: no answer, or not one of a Model Registry.
    """
    started = time.monotonic()
    try:
        return _look_up(uri, allow_local_sources)
    except RegistryUnreachable:
        if time.monotonic() - started > _SECOND_TRY_WITHIN_SECONDS:
            raise
    return _look_up(uri, allow_local_sources)


def _look_up(uri: ModelUri, allow_local_sources: bool) -> ModelVersion:
    try:
        return _ask(uri, allow_local_sources)
    except MlflowException as error:
        if error.error_code in _MISSING:
            nothing = f"the registry has nothing for {uri.text}"
            raise VersionMissing(error.message, nothing) from error
        raise RegistryUnreachable(_first_line(error), _UNSAID) from error
    except RegistryError:
        raise
    except Exception as error:
        # HTML in place of JSON, a database driver's own errors, a name that does not resolve:
        # whatever the client raises, the registry could not be asked.
        text = f"{type(error).__name__}: {_first_line(error)}"
        raise RegistryUnreachable(text, _UNSAID) from error


def _ask(uri: ModelUri, allow_local_sources: bool) -> ModelVersion:
    if uri.form is Form.LOCATION:
        # Without a client: there need be no database, and no registry.
        return ModelVersion(load_uri=uri.text, source=uri.text)
    tracking_uri = _tracking_uri()
    # Both: for a registered model, too, the client opens the tracking store.
    expect_ready(tracking_uri, _variable_of(tracking_uri), same_revision=True)
    registry_uri: str = mlflow.get_registry_uri()
    expect_ready(registry_uri, _variable_of(registry_uri), same_revision=False)
    client = MlflowClient(tracking_uri)
    if uri.form is Form.MODEL_ID:
        logged = client.get_logged_model(uri.selector)
        _expect(logged.model_id)
        return ModelVersion(
            load_uri=uri.text,
            source=logged.artifact_location,
            run_id=logged.source_run_id,
            model_id=logged.model_id,
            status=str(logged.status),
        )
    if uri.form is Form.RUN:
        run = client.get_run(uri.selector)
        _expect(run.info.run_id)
        return ModelVersion(load_uri=uri.text, source=uri.text, run_id=run.info.run_id)
    found = _registered(client, uri)
    if found.status == _PENDING:
        raise VersionPending(f"version {found.version} of {found.name!r} is still being registered")
    if found.status == _FAILED:
        refusal: str | None = "its registration has failed"
    elif allow_local_sources:
        refusal = None
    else:
        refusal = source_problem(client, registry_uri, found)
    return ModelVersion(
        load_uri=_load_uri(found),
        source=found.source or "",
        version=str(found.version),
        run_id=found.run_id or None,
        model_id=found.model_id or None,
        stage=found.current_stage,
        alias=uri.selector if uri.form is Form.ALIAS else None,
        status=str(found.status),
        refusal=refusal,
        refusal_details=_status_message(found) if found.status == _FAILED else None,
    )


def _status_message(found: RegisteredVersion) -> str | None:
    lines = (found.status_message or "").strip().splitlines()
    return lines[0][:_LONGEST_MESSAGE] if lines else None


def _tracking_uri() -> str:
    """MLflow's own, but for one case: where only a registry is named, MLflow would make a database
    in the working directory, and the registry's is taken (as in `server.worker.loading`)."""
    uri = mlflow.get_tracking_uri()
    named: bool = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    return registry if registry and not named and is_missing_file(uri) else uri


def _variable_of(uri: str) -> str:
    """The variable that is set to a URI, or is to be set to another."""
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    return "MLFLOW_REGISTRY_URI" if uri == registry else "MLFLOW_TRACKING_URI"


def _registered(client: MlflowClient, uri: ModelUri) -> RegisteredVersion:
    if uri.form is Form.VERSION:
        held = [client.get_model_version(uri.name, uri.selector)]
    elif uri.form is Form.ALIAS:
        held = [client.get_model_version_by_alias(uri.name, uri.selector)]
    else:
        held = _latest(client, uri)
    for version in held:
        _expect(version.name, version.version)
    return max(held, key=lambda version: int(version.version))


def _latest(client: MlflowClient, uri: ModelUri) -> list[RegisteredVersion]:
    # The client underneath answers an empty stage with an empty list in one request;
    # `MlflowClient.get_latest_versions` asks twice and warns that stages are deprecated.
    stages = [uri.selector] if uri.form is Form.STAGE else None
    registry = client._get_registry_client()  # type: ignore[no-untyped-call]
    held: list[RegisteredVersion] = registry.get_latest_versions(uri.name, stages)
    if not held:
        # An empty list is also what becomes of an answer that is not a registry's: one that has
        # the model is, and one that has not says so.
        _expect(client.get_registered_model(uri.name).name)
        where = f"in stage {uri.selector!r}" if stages else "at all"
        raise VersionMissing(f"model {uri.name!r} has no version {where}")
    return held


def _expect(*values: str) -> None:
    """Refuse an answer without what every registry's has.

    MLflow's client makes an entity without a name or an id of an empty body, of another service's
    JSON and of an answer that was cut within its headers. What stands in a header of each
    prediction must not end that.
    """
    if not all(value and str(value).isprintable() for value in values):
        raise RegistryUnreachable("the answer is not one of a Model Registry")


def _load_uri(found: RegisteredVersion) -> str:
    if "@" in found.name:
        # MLflow would take the rest of the name for an alias and the number for a path in the model
        # (mlflow/store/artifact/models_artifact_repo.py, split_models_uri).
        return found.source or ""
    return f"models:/{found.name}/{found.version}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
