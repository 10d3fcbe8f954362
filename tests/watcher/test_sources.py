"""Where the files of a registered version may be, as a real tracking server tells of them."""

import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry, Registry, set_status
from tests.support.tracking import TrackingServer
from watcher.model_uri import parse_model_uri
from watcher.registry import look_up
from watcher.sources import CLIMBS, OUTSIDE
from watcher.versions import VersionPending


@pytest.fixture
def name(http_registry: HttpRegistry, model_name: str) -> Iterator[str]:
    """A registered model without versions, of the tracking server that is asked."""
    http_registry.create(model_name)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(http_registry.uri)
    yield model_name
    mlflow.set_tracking_uri(before)


@pytest.fixture
def behind(tracking_server: TrackingServer) -> Registry:
    """The same registry without the server, which would refuse what is not to be tried."""
    return Registry(f"sqlite:///{tracking_server.database}")


@pytest.fixture
def shared(http_registry: HttpRegistry, model_name: str, tmp_path: Path) -> str:
    """An experiment whose artifacts lie in a directory that this machine has, too."""
    location = (tmp_path / "artifacts").as_uri()
    return str(http_registry.client.create_experiment(model_name, artifact_location=location))


def refusal(name: str, version: str, *, allow: bool = False) -> str | None:
    """Why a version is refused."""
    return look_up(parse_model_uri(f"models:/{name}/{version}"), allow_local_sources=allow).refusal


def as_path(location: str) -> Path:
    """The directory that a location names."""
    return Path(urllib.parse.urlparse(location).path)


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "/%65tc",
        "file:///etc",
        "file:/etc",
        "FILE:///etc",
        "file://localhost/etc",
        "file://another-host/etc",
        "file:///%65tc",
        "file:///etc?x#y",
        "etc",
        "file:relative",
        "/etc/\x00",
        "\\\\server\\share",
    ],
)
def test_a_path_of_the_serving_machine_is_refused(name: str, behind: Registry, source: str) -> None:
    version = behind.add(name, Path("/unused"))
    with_run = behind.client.create_model_version(name, source, run_id=behind.new_run()).version
    assert refusal(name, with_run) == OUTSIDE
    assert refusal(name, version) == OUTSIDE
    assert refusal(name, with_run, allow=True) is None


@pytest.mark.parametrize(
    "path",
    ["..", "../../{other}/artifacts/model", "%2e%2e/%2e%2e/{other}/artifacts", "link/ssh", "loop"],
)
def test_a_path_that_leads_out_of_the_run_s_artifacts_is_refused(
    name: str, behind: Registry, shared: str, tmp_path: Path, path: str
) -> None:
    run, other = (behind.client.create_run(shared).info for _ in range(2))
    artifacts = as_path(run.artifact_uri)
    (artifacts / "model").mkdir(parents=True)
    (artifacts / "link").symlink_to("/etc")
    (artifacts / "loop").symlink_to("loop")
    for uri in (f"{artifacts}/{path}", f"file://{artifacts}/{path}"):
        source = uri.replace("{other}", other.run_id)
        version = behind.client.create_model_version(name, source, run_id=run.run_id).version
        assert refusal(name, version) == OUTSIDE


@pytest.mark.parametrize("location", ["/etc", "file:///", "file:///etc?x=", "file:///etc#"])
def test_who_makes_an_experiment_does_not_choose_what_is_loaded(
    name: str, behind: Registry, location: str
) -> None:
    experiment = behind.client.create_experiment(f"{name}-{location}", location)
    run = behind.client.create_run(experiment).info.run_id
    version = behind.client.create_model_version(name, "/etc", run_id=run).version
    assert refusal(name, version) == OUTSIDE


@pytest.mark.parametrize(
    "source",
    [
        "runs:/{run}/../../../etc",
        "mlflow-artifacts:/..%2f..%2fetc",
        "s3://bucket/%252e%252e/elsewhere",
    ],
)
def test_what_climbs_is_refused_elsewhere_too(name: str, behind: Registry, source: str) -> None:
    run = behind.new_run()
    source = source.replace("{run}", run)
    version = behind.client.create_model_version(name, source, run_id=run).version
    assert refusal(name, version) == CLIMBS


@pytest.mark.parametrize("source", ["dbfs:/models/one", "C:\\models\\one", "s3://bucket/a..b"])
def test_what_is_not_on_this_machine_is_let_be(name: str, behind: Registry, source: str) -> None:
    version = behind.client.create_model_version(name, source).version
    assert refusal(name, version) is None


def test_artifacts_on_a_file_system_that_both_have_are_let_be(
    name: str, http_registry: HttpRegistry, shared: str, saved: SavedModels
) -> None:
    client, path = http_registry.client, str(saved.saying("one"))
    run = client.create_run(shared).info
    client.log_artifacts(run.run_id, path, "model")
    logged = client.create_logged_model(shared, source_run_id=run.run_id)
    client.log_model_artifacts(logged.model_id, path)
    versions = [
        client.create_model_version(name, f"{run.artifact_uri}/model", run_id=run.run_id),
        client.create_model_version(name, f"models:/{logged.model_id}", model_id=logged.model_id),
        client.create_model_version(name, logged.artifact_location, model_id=logged.model_id),
    ]
    versions.append(client.copy_model_version(f"models:/{name}/1", name))
    versions.append(client.copy_model_version(f"models:/{name}/2", name))
    assert [refusal(name, version.version) for version in versions] == [None] * 5


def test_a_copy_of_a_refused_version_is_refused(name: str, behind: Registry) -> None:
    behind.client.create_model_version(name, "/etc")
    copy = behind.client.create_model_version(name, f"models:/{name}/1").version
    assert refusal(name, copy) == OUTSIDE


def test_an_own_registry_may_name_any_path(registry: Registry, model_name: str) -> None:
    registry.create(model_name)
    version = registry.add(model_name, Path("/etc"))
    assert refusal(model_name, version) is None


def test_a_registration_that_has_failed_is_told_of(
    name: str, http_registry: HttpRegistry, tracking_server: TrackingServer, saved: SavedModels
) -> None:
    version = http_registry.add(name, saved.saying("one"))
    set_status(tracking_server.database, name, version, "FAILED_REGISTRATION", "no quota\nat all")
    found = look_up(parse_model_uri(f"models:/{name}/{version}"), allow_local_sources=True)
    assert found.refusal == "its registration has failed"
    assert found.refusal_details == "no quota"
    set_status(tracking_server.database, name, version, "FAILED_REGISTRATION")
    found = look_up(parse_model_uri(f"models:/{name}/{version}"))
    assert (found.refusal, found.refusal_details) == ("its registration has failed", None)


def test_a_registration_under_way_is_told_of(
    name: str, http_registry: HttpRegistry, tracking_server: TrackingServer, saved: SavedModels
) -> None:
    version = http_registry.add(name, saved.saying("one"))
    set_status(tracking_server.database, name, version, "PENDING_REGISTRATION")
    with pytest.raises(VersionPending, match=f"version {version} of '{name}'"):
        refusal(name, version)
