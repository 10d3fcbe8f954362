"""Asking a real registry what a model URI means now."""

from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts

from tests.support.models import SavedModels
from tests.support.registry import Registry
from watcher.model_uri import parse_model_uri
from watcher.registry import look_up
from watcher.versions import ModelVersion, VersionMissing


def find(text: str) -> ModelVersion:
    """What the registry says of a URI."""
    return look_up(parse_model_uri(text))


@pytest.fixture
def name(registry: Registry, model_name: str, saved: SavedModels) -> str:
    """A registered model with three versions, none in a stage."""
    registry.create(model_name)
    for word in ("one", "two", "three"):
        registry.add(model_name, saved.saying(word))
    return model_name


def test_a_stage_means_the_version_that_holds_it(registry: Registry, name: str) -> None:
    registry.promote(name, "2")
    found = find(f"models:/{name}/Production")
    assert (found.version, found.stage, found.status) == ("2", "Production", "READY")
    assert found.load_uri == f"models:/{name}/2"
    assert find(f"models:/{name}/production").version == "2"


def test_of_two_versions_in_a_stage_the_highest_counts(registry: Registry, name: str) -> None:
    registry.promote(name, "3", archive=False)
    registry.promote(name, "1", archive=False)
    assert find(f"models:/{name}/Production").version == "3"


def test_versions_are_compared_as_numbers(
    registry: Registry, name: str, saved: SavedModels
) -> None:
    for _ in range(8):
        last = registry.add(name, saved.saying("one"))
    registry.promote(name, "9")
    registry.promote(name, last, archive=False)
    assert last == "11"
    assert find(f"models:/{name}/Production").version == "11"
    assert find(f"models:/{name}/latest").version == "11"


def test_an_alias_means_the_version_that_it_points_at(registry: Registry, name: str) -> None:
    registry.point(name, "production", "2")
    found = find(f"models:/{name}@production")
    assert (found.version, found.alias) == ("2", "production")
    registry.point(name, "production", "1")
    assert find(f"models:/{name}@production").version == "1"


def test_a_number_means_itself_and_latest_the_highest(registry: Registry, name: str) -> None:
    registry.promote(name, "1")
    assert find(f"models:/{name}/2").version == "2"
    assert find(f"models:/{name}/latest").version == "3"


def test_a_version_has_its_run_and_source(
    registry: Registry, name: str, saved: SavedModels
) -> None:
    run_id = registry.new_run()
    number = registry.add(name, saved.saying("one"), run_id)
    found = find(f"models:/{name}/{number}")
    assert (found.run_id, found.source) == (run_id, str(saved.saying("one")))


def test_a_run_and_a_path_mean_themselves(registry: Registry, saved: SavedModels) -> None:
    run_id = registry.new_run()
    found = find(f"runs:/{run_id}/model")
    assert (found.run_id, found.version) == (run_id, None)
    path = str(saved.saying("one"))
    assert find(path) == ModelVersion(load_uri=path, source=path)


@pytest.mark.parametrize("logged", [False, True], ids=["a path", "a logged model"])
def test_a_version_of_a_model_with_an_at_in_its_name_can_be_loaded(
    registry: Registry, model_name: str, saved: SavedModels, tmp_path: Path, logged: bool
) -> None:
    name = f"{model_name}@home"
    registry.create(name)
    registry.add(name, saved.saying("one"))
    client, path = registry.client, saved.saying("two")
    source = str(path)
    if logged:
        experiment = client.create_experiment(name, artifact_location=str(tmp_path / "artifacts"))
        model_id = client.create_logged_model(experiment).model_id
        client.log_model_artifacts(model_id, source)
        source = f"models:/{model_id}"
    client.create_model_version(name, source)
    registry.point(name, "champ", "2")

    found = find(f"models:/{name}@champ")
    assert (found.version, found.source) == ("2", source)
    loaded = download_artifacts(artifact_uri=found.load_uri, dst_path=str(tmp_path))
    assert (Path(loaded) / f"{path.name}.py").exists()


def test_what_is_not_there_is_missing_and_not_an_outage(registry: Registry, name: str) -> None:
    for text in (
        f"models:/{name}/Production",
        f"models:/{name}/Nonsense",
        f"models:/{name}@nowhere",
        f"models:/{name}/99",
        "models:/no-such-model/Production",
        "models:/no-such-model@production",
        "models:/no-such-model/1",
        "models:/no-such-model/latest",
        "models:/m-0123456789abcdef0123456789abcdef",
        "runs:/0123456789abcdef0123456789abcdef/model",
    ):
        with pytest.raises(VersionMissing):
            find(text)


def test_a_model_without_versions_is_missing(registry: Registry, model_name: str) -> None:
    registry.create(model_name)
    with pytest.raises(VersionMissing, match="no version at all"):
        find(f"models:/{model_name}/latest")
    with pytest.raises(VersionMissing, match="Production"):
        find(f"models:/{model_name}/Production")
