"""A version whose files can't be fetched or kept is refused, and leaves nothing on disk."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.models import text
from tests.end_to_end.faults.proxy import Cut, Fault, Proxy, http
from tests.support.models import SavedModels
from tests.support.registry import HttpRegistry, Registry
from tests.support.server import Server
from tests.support.tracking import TrackingServer
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

MEBIBYTE = 1024 * 1024
SIZE = 4 * MEBIBYTE
DOWNLOADS = b"/mlflow-artifacts/"

NAME = "with-weights"
TOKEN = "token-4713"  # noqa: S105


DISKS = ("No space left on device", "Read-only file system")


@pytest.fixture(scope="module")
def heavy(saved: SavedModels) -> Path:
    """A model with a large file."""
    path = saved.save("return ['heavy'] * len(model_input)")
    (path / "weights.bin").write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    proxy: Proxy,
    http_registry: HttpRegistry,
    saved: SavedModels,
    heavy: Path,
) -> Iterator[Server]:
    """A server that serves version 1 and reaches the artifacts of version 2 by the proxy only."""
    http_registry.create(NAME)
    http_registry.add(NAME, saved.saying("one"))
    http_registry.add(NAME, heavy)
    http_registry.promote(NAME, "1")
    server = Server(
        tmp_path_factory.mktemp("artifacts"),
        MODEL_URI=f"models:/{NAME}/Production",
        MLFLOW_TRACKING_URI=proxy.url,
        POLL_INTERVAL_SECONDS="0",
        RELOAD_TOKEN=TOKEN,
        # MLflow's own patience with an artifact store is minutes.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
    )
    server.wait_healthy()
    yield server
    server.close()


def assert_refused(server: Server, before: list[Path], says: str) -> str:
    """A reload fails in the download and says why; version 1 serves on, and nothing is left."""
    mark = server.mark()
    answer = server.reload(TOKEN)
    assert answer.status == 500
    message = str(answer.json["message"])
    assert "download failed" in message
    assert says in message
    assert str(server.scratch) not in message
    failure = server.wait_for("reload_failed", since=mark)
    assert failure["phase"] == "download"
    if says not in DISKS:
        # The artifact store's words are for those who show the token.
        told = server.info()["last_reload"]["error"]
        assert told == "download: the files can't be fetched; the server's log says why"
    assert says in failure["error"]
    assert server.predict(text("hello")).json == {"predictions": ["one"]}
    wait_until(lambda: server.release_directories() == before, "nothing is left of it")
    return message


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Cut(after=SIZE // 2), "weights.bin"),
        (http("500 Internal Server Error", b"no disk"), "500"),
        (http("200 OK", b"<html>Please log in</html>", "Content-Type: text/html"), ""),
    ],
    ids=["cut half-way", "500", "HTML"],
)
def test_a_download_that_breaks_is_refused(
    server: Server, http_registry: HttpRegistry, healed: Proxy, fault: Fault, says: str
) -> None:
    http_registry.promote(NAME, "2")
    before = server.release_directories()
    healed.suffer(fault, only=DOWNLOADS)
    try:
        assert_refused(server, before, says)
    finally:
        http_registry.promote(NAME, "1")


def test_a_missing_file_is_named(
    server: Server,
    http_registry: HttpRegistry,
    tracking_server: TrackingServer,
    heavy: Path,
) -> None:
    version = http_registry.add(NAME, heavy)
    run = http_registry.client.get_model_version(NAME, version).run_id
    (stored,) = (tracking_server.directory / "artifacts").glob(f"*/{run}/artifacts/model/MLmodel")
    stored.unlink()
    http_registry.promote(NAME, version)
    before = server.release_directories()
    try:
        answer = server.reload(TOKEN)
    finally:
        http_registry.promote(NAME, "1")

    assert answer.status == 500
    assert "MLmodel" in answer.json["message"]
    assert str(server.scratch) not in answer.json["message"]
    wait_until(lambda: server.release_directories() == before, "nothing is left of it")
    assert server.predict(text("hello")).json == {"predictions": ["one"]}


def test_mended_it_serves(server: Server, http_registry: HttpRegistry) -> None:
    http_registry.promote(NAME, "2")
    answer = server.reload(TOKEN)
    assert (answer.status, answer.json["new_version"]) == (200, "v2")


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[None]:
    """A file system of 16 MiB in place of a directory; the test is skipped where nobody may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size=16m,mode=700,{options}", "tmpfs"]
    done = subprocess.run([*command, str(directory)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def small_disk(scratch: Path) -> Iterator[None]:
    """The servers' TMPDIR is a small file system of its own."""
    with mounted(scratch, "rw"):
        yield


@pytest.mark.usefixtures("small_disk")
def test_a_disk_that_is_full_or_read_only_is_named(
    registry: Registry,
    model_name: str,
    saved: SavedModels,
    heavy: Path,
    start_server: StartServer,
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    server = start_server(f"models:/{model_name}/Production", POLL_INTERVAL_SECONDS="0")
    server.wait_healthy()
    before = server.release_directories()
    registry.promote(model_name, registry.add(model_name, heavy))

    filler = server.scratch / "filler"
    free = shutil.disk_usage(server.scratch).free
    filler.write_bytes(bytes(free - SIZE // 2))
    assert_refused(server, before, "No space left on device")
    filler.write_bytes(bytes(free))
    answer = server.reload()
    assert answer.status == 500
    assert "No space left on device" in answer.json["message"]
    assert str(server.scratch) not in answer.json["message"]
    filler.unlink()

    (own,) = server.scratch.glob("mlflow-server-*")
    with mounted(own, "ro"):
        answer = server.reload()
    assert answer.status == 500
    assert "Read-only file system" in answer.json["message"]
    assert str(server.scratch) not in answer.json["message"]

    wait_until(lambda: server.release_directories() == before, "nothing is left of it")
    assert server.predict(text("hello")).json == {"predictions": ["one"]}
    assert server.reload().json["new_version"] == "v2"


def test_no_directory_can_be_read_by_others(server: Server) -> None:
    directories = [p for p in server.scratch.glob("mlflow-server-*/**") if p.is_dir()]
    assert len(directories) > 3
    for directory in directories:
        assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0, directory
