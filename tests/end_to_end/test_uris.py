"""The forms of MODEL_URI that name what a run logged, or a path: nothing to watch."""

import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry


def test_a_path_is_served_and_the_log_says_that_nothing_is_watched(
    saved: SavedModels, start_server: StartServer
) -> None:
    path = saved.saying("one")
    server = start_server(str(path))
    server.wait_healthy()
    assert server.find("nothing_to_watch", model_uri=str(path))
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["one"]}
    info = server.info()
    assert info["model_name"] == path.name
    assert info["metadata"]["version"] is None
    assert info["watcher"]["enabled"] is False
    answer = server.reload()
    assert (answer.status, answer.json["version_changed"]) == (200, False)


@pytest.mark.parametrize("form", ["run", "logged model"])
def test_what_a_run_logged_is_served(
    http_registry: HttpRegistry, saved: SavedModels, start_server: StartServer, form: str
) -> None:
    """Over HTTP, as a logged model's files have to be fetched from the tracking server."""
    run_id, model_id = http_registry.log(saved.saying("logged"))
    uri = f"runs:/{run_id}/model" if form == "run" else f"models:/{model_id}"
    server = start_server(uri, MLFLOW_TRACKING_URI=http_registry.uri, MODEL_NAME="my model")
    server.wait_healthy()
    answer = server.predict(TEXT_REQUEST)
    assert answer.json == {"predictions": ["logged"]}
    assert answer.version == (run_id if form == "run" else model_id)
    info = server.info()
    assert info["model_name"] == "my model"
    assert info["metadata"]["run_id"] == run_id
    assert server.find("nothing_to_watch", model_uri=uri)
