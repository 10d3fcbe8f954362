"""Databases that MLflow keeps its registry in."""

import shutil
from pathlib import Path

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry
from tests.support.server import REPOSITORY, Server


def test_an_empty_database_is_left_to_mlflow_and_served_from_once_it_is_set_up(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    path = tmp_path / "mlflow.db"
    path.touch()
    uri = f"sqlite:///{path}"
    server = start_server(f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=uri)
    refused = server.wait_for("registry_unreachable")
    command = 'mlflow db upgrade "$MLFLOW_TRACKING_URI"'
    assert refused["error"] == (
        f"the database of MLFLOW_TRACKING_URI is empty: run `{command}` to set it up"
    )
    assert server.get("/health").status == 503
    assert path.read_bytes() == b""

    shutil.copy(registry.uri.removeprefix("sqlite:///"), path)

    server.wait_for("registry_recovered")
    server.wait_healthy()


def test_where_only_a_registry_is_named_no_database_is_made_in_the_working_directory(
    registry: Registry, model_name: str, saved: SavedModels, scratch: Path, tmp_path: Path
) -> None:
    code = "import os; return [os.environ['MLFLOW_TRACKING_URI']] * len(model_input)"
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.save(code)))
    folder = tmp_path / "folder"
    folder.mkdir()

    class Elsewhere(Server):
        directory = folder

    server = Elsewhere(
        scratch,
        MODEL_URI=f"models:/{model_name}/Production",
        MLFLOW_TRACKING_URI="",
        MLFLOW_REGISTRY_URI=registry.uri,
        PYTHONPATH=str(REPOSITORY),
    )
    try:
        server.wait_healthy()
        # What MLflow's own default is stays so for the model's code.
        assert server.predict(TEXT_REQUEST).json == {"predictions": [""]}
    finally:
        server.close()
    assert list(folder.iterdir()) == []
