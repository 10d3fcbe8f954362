"""Versions that a registry names, and that must not be loaded, or not yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.models import text
from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry, Registry, set_status
from tests.support.server import Server
from tests.support.tracking import TrackingServer

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

NAME = "registrations"


@pytest.fixture
def behind(tracking_server: TrackingServer) -> Registry:
    """The registry without its server, which would refuse what is not to be tried."""
    return Registry(f"sqlite:///{tracking_server.database}")


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, http_registry: HttpRegistry, saved: SavedModels
) -> Iterator[Server]:
    """A server that serves version 1 of a registry over HTTP."""
    http_registry.create(NAME)
    http_registry.promote(NAME, http_registry.add(NAME, saved.saying("one")))
    server = Server(
        tmp_path_factory.mktemp("registrations"),
        MODEL_URI=f"models:/{NAME}/Production",
        MLFLOW_TRACKING_URI=http_registry.uri,
    )
    server.wait_healthy()
    yield server
    server.close()


@pytest.fixture
def server(running: Server, http_registry: HttpRegistry) -> Iterator[Server]:
    """The server; after the test version 1 is in Production again."""
    yield running
    mark = running.mark()
    http_registry.promote(NAME, "1")
    running.reload()
    running.wait_for("model_swapped", since=mark, new_version="v1")


@pytest.fixture
def shared(http_registry: HttpRegistry, model_name: str, tmp_path: Path) -> str:
    """An experiment whose artifacts lie where the server finds them, too."""
    location = (tmp_path / "artifacts").as_uri()
    return str(http_registry.client.create_experiment(model_name, artifact_location=location))


def test_a_version_is_waited_for_while_it_is_being_registered(
    server: Server,
    http_registry: HttpRegistry,
    tracking_server: TrackingServer,
    saved: SavedModels,
) -> None:
    version = http_registry.add(NAME, saved.saying("two"))
    set_status(tracking_server.database, NAME, version, "PENDING_REGISTRATION")
    mark = server.mark()
    http_registry.promote(NAME, version)
    told = server.wait_for("version_pending", since=mark)
    assert told["serving_version"] == "v1"
    assert "still being registered" in told["error"]

    answer = server.reload()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "still being registered" in answer.json["message"]
    assert answer.json["old_version"] == "v1"
    assert server.info()["watcher"]["last_outcome"] == "pending"
    assert server.predict(text("hello")).json == {"predictions": ["one"]}

    set_status(tracking_server.database, NAME, version, "READY")
    server.wait_swapped(version, since=mark, trigger="watcher")
    assert len(server.find("version_pending", since=mark)) == 1
    assert len(server.find("reload_failed", since=mark)) == 1  # that of /reload
    assert server.predict(text("hello")).json == {"predictions": ["two"]}


def test_health_says_what_the_first_version_waits_for(
    http_registry: HttpRegistry,
    tracking_server: TrackingServer,
    saved: SavedModels,
    model_name: str,
    start_server: StartServer,
) -> None:
    http_registry.create(model_name)
    version = http_registry.add(model_name, saved.saying("one"))
    set_status(tracking_server.database, model_name, version, "PENDING_REGISTRATION")
    server = start_server(f"models:/{model_name}/1", MLFLOW_TRACKING_URI=http_registry.uri)
    server.wait_for("version_pending")
    health = server.get("/health")
    assert health.status == 503
    assert "still being registered" in health.json["reason"]
    set_status(tracking_server.database, model_name, version, "READY")
    server.wait_healthy()
    assert server.find("reload_failed") == []


def test_a_version_whose_registration_failed_is_refused(
    server: Server,
    http_registry: HttpRegistry,
    tracking_server: TrackingServer,
    saved: SavedModels,
) -> None:
    version = http_registry.add(NAME, saved.saying("two"))
    set_status(tracking_server.database, NAME, version, "FAILED_REGISTRATION", "out of quota")
    mark = server.mark()
    http_registry.promote(NAME, version)
    assert_refused(server, mark, version, "resolve", "its registration has failed")
    assert "out of quota" in server.wait_for("reload_failed", since=mark)["error"]


@pytest.mark.parametrize("form", ["{path}", "file://{path}", "file://localhost{path}"])
def test_a_source_elsewhere_on_this_machine_is_refused(
    server: Server, behind: Registry, http_registry: HttpRegistry, saved: SavedModels, form: str
) -> None:
    # One that would load well: only its place is wrong.
    path = saved.saying("stolen")
    source = form.format(path=path)
    version = str(behind.client.create_model_version(NAME, source, run_id=behind.new_run()).version)
    mark = server.mark()
    http_registry.promote(NAME, version)
    error = assert_refused(server, mark, version, "resolve", "ALLOW_LOCAL_SOURCES")
    assert str(path) not in error


def test_a_shared_file_system_and_allowed_sources_serve(
    http_registry: HttpRegistry,
    behind: Registry,
    model_name: str,
    saved: SavedModels,
    shared: str,
    start_server: StartServer,
) -> None:
    client = http_registry.client
    http_registry.create(model_name)
    run = client.create_run(shared).info
    client.log_artifacts(run.run_id, str(saved.saying("shared")), "model")
    source = f"{run.artifact_uri}/model"
    version = str(client.create_model_version(model_name, source, run_id=run.run_id).version)
    http_registry.promote(model_name, version)
    server = start_server(f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=http_registry.uri)
    server.wait_healthy()
    assert server.predict(text("hello")).json == {"predictions": ["shared"]}

    http_registry.promote(model_name, behind.add(model_name, saved.saying("elsewhere")))
    server.wait_for("reload_failed", failed_version="v2")
    lenient = start_server(
        f"models:/{model_name}/Production",
        MLFLOW_TRACKING_URI=http_registry.uri,
        ALLOW_LOCAL_SOURCES="1",
    )
    lenient.wait_healthy()
    assert lenient.predict(text("hello")).json == {"predictions": ["elsewhere"]}


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [("weights.bin", "/etc/passwd"), ("data/all", "/etc"), ("up", "../../..")],
)
def test_a_link_that_leads_out_of_the_model_is_refused(
    server: Server,
    http_registry: HttpRegistry,
    saved: SavedModels,
    shared: str,
    link: str,
    leads_to: str,
) -> None:
    client = http_registry.client
    run = client.create_run(shared).info
    client.log_artifacts(run.run_id, str(saved.saying("linked")), "model")
    model = Path(run.artifact_uri.removeprefix("file://")) / "model"
    (model / "same").symlink_to("MLmodel")
    version = str(
        client.create_model_version(NAME, f"{run.artifact_uri}/model", run_id=run.run_id).version
    )
    mark = server.mark()
    http_registry.promote(NAME, version)
    server.wait_swapped(version, since=mark)  # links within are no harm
    http_registry.promote(NAME, "1")
    server.wait_swapped("1", since=mark)

    (model / link).parent.mkdir(exist_ok=True)
    (model / link).symlink_to(leads_to)
    mark = server.mark()
    http_registry.promote(NAME, version)
    assert_refused(server, mark, version, "download", f"{link} is a link that leads out")


def assert_refused(server: Server, mark: int, version: str, phase: str, says: str) -> str:
    """The watcher and /reload refuse a version, saying why, and version 1 serves on; return why."""
    failure = server.wait_for("reload_failed", since=mark, failed_version=f"v{version}")
    assert (failure["trigger"], failure["phase"]) == ("watcher", phase)
    assert failure["serving_version"] == "v1"
    assert failure["retry_in_seconds"] > 0
    assert says in failure["error"]
    answer = server.reload()
    assert answer.status == 500
    assert says in answer.json["message"]
    assert server.predict(text("hello")).json == {"predictions": ["one"]}
    return str(failure["error"]) + str(answer.json["message"])
