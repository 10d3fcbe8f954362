"""Every form of MODEL_URI, asked of a real registry and served."""

import os

import pytest

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry, Registry
from tests.support.waiting import wait_until


def test_latest_follows_the_highest_version_of_any_stage(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    server = start_server(f"models:/{model_name}/latest")
    server.wait_swapped("1", trigger="startup")
    registry.add(model_name, saved.saying("two"))
    server.wait_swapped("2", trigger="watcher")
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["two"]}


def test_a_number_stays_where_it_is(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    registry.add(model_name, saved.saying("one"))
    registry.promote(model_name, registry.add(model_name, saved.saying("two")))
    server = start_server(f"models:/{model_name}/1")
    server.wait_swapped("1", trigger="startup")
    polled = server.info()["watcher"]["last_poll"]
    wait_until(lambda: server.info()["watcher"]["last_poll"] != polled, "another poll")
    assert server.predict(TEXT_REQUEST).version == "1"
    assert server.info()["metadata"]["version"] == "1"
    assert server.find("version_moved") == []


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


def test_a_name_with_spaces_and_dots_is_served(
    registry: Registry, saved: SavedModels, start_server: StartServer
) -> None:
    name = f"sentiment analysis 1.0 {os.getpid()}"
    registry.create(name)
    registry.point(name, "live", registry.add(name, saved.saying("one")))
    server = start_server(f"models:/{name}@live")
    server.wait_healthy()
    assert server.get("/health").json["model_name"] == name
