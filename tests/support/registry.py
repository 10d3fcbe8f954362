"""A Model Registry, and the short names for what tests do with it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient


class Registry:
    """A registry in an SQLite file; no server is needed in between.

    Args:
        uri: Its tracking URI.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def create(self, name: str) -> None:
        """Make a registered model."""
        self.client.create_registered_model(name)

    def delete(self, name: str) -> None:
        """Delete a registered model with all its versions."""
        self.client.delete_registered_model(name)

    def add(self, name: str, path: Path, run_id: str | None = None) -> str:
        """Register a saved model as the next version and return its number."""
        version = self.client.create_model_version(name, source=str(path), run_id=run_id)
        return str(version.version)

    def new_run(self) -> str:
        """Make a run and return its id."""
        return str(self.client.create_run("0").info.run_id)

    def promote(self, name: str, version: str, *, archive: bool = True) -> None:
        """Move a version to Production, and what was there to the archive."""
        self.client.transition_model_version_stage(
            name, version, "Production", archive_existing_versions=archive
        )

    def archive(self, name: str, version: str) -> None:
        """Move a version out of Production."""
        self.client.transition_model_version_stage(name, version, "Archived")

    def point(self, name: str, alias: str, version: str) -> None:
        """Move an alias."""
        self.client.set_registered_model_alias(name, alias, version)


def set_status(
    database: Path, name: str, version: str, status: str, message: str | None = None
) -> None:
    """Set a version's registration status, which no client of MLflow's can.

    Args:
        database: The SQLite file behind the registry.
    """
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        changed = connection.execute(
            "update model_versions set status = ?, status_message = ?"
            " where name = ? and version = ?",
            (status, message, name, int(version)),
        )
    assert changed.rowcount == 1


class HttpRegistry(Registry):
    """The registry of a tracking server, which takes only models that were uploaded to a run."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._experiment = self.client.create_experiment("tests")

    def log(self, path: Path) -> tuple[str, str]:
        """Upload a saved model as a run's, and as a logged model; return the ids of both."""
        run_id = str(self.client.create_run(self._experiment).info.run_id)
        self.client.log_artifacts(run_id, str(path), "model")
        logged = self.client.create_logged_model(self._experiment, source_run_id=run_id)
        self.client.log_model_artifacts(logged.model_id, str(path))
        self.client.finalize_logged_model(logged.model_id, "READY")
        return run_id, str(logged.model_id)

    def add(self, name: str, path: Path, run_id: str | None = None) -> str:
        """Upload a saved model, register it as the next version and return its number."""
        run = self.client.get_run(run_id) if run_id else self.client.create_run(self._experiment)
        self.client.log_artifacts(run.info.run_id, str(path), "model")
        return str(
            self.client.create_model_version(
                name, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id
            ).version
        )
