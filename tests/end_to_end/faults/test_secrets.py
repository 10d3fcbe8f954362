"""Who may reload, and what nobody may see."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.models import text
from tests.support.answers import Answer
from tests.support.capabilities import ALL, without
from tests.support.models import SavedModels
from tests.support.server import Server, only_root
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

TOKEN = "s3cret-token-4713"  # noqa: S105
KEY = "s3cret-key-4716"

# Answers with all that a model can find of an environment: its own, and those of the processes
# above it, the gateway among them.
SPY = """
    import os, pathlib

    def read(path):
        try:
            return pathlib.Path(path).read_text(errors="replace")
        except OSError as error:
            return str(error)

    def parent(pid):
        return int(read(f"/proc/{pid}/status").split("PPid:")[1].split()[0])

    # The template, and the environment process.
    above = [os.getppid()]
    while read(f"/proc/{above[-1]}/comm").strip() != "environment":
        above.append(parent(above[-1]))
    gateway = parent(above[-1])
    found = {
        "own": str(dict(os.environ)) + read("/proc/self/environ"),
        "above": "".join(read(f"/proc/{pid}/environ") for pid in above),
        "above's memory": "".join(read(f"/proc/{pid}/maps") for pid in above),
        "gateway": read(f"/proc/{gateway}/environ"),
        "gateway's memory": read(f"/proc/{gateway}/maps"),
    }
    return [found.get(text, "") for text in model_input["text"]]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, saved: SavedModels) -> Iterator[Server]:
    """A server with a token and a key, and a model that looks for them."""
    scratch, model = tmp_path_factory.mktemp("token"), str(saved.save(SPY))
    secrets = {"RELOAD_TOKEN": TOKEN, "API_KEY": KEY}
    server = without(ALL, lambda: Server(scratch, MODEL_URI=model, **secrets))
    server.wait_healthy()
    yield server
    server.close()


def reload(server: Server, authorization: bytes | None) -> Answer:
    """POST to /reload with this header."""
    headers = {} if authorization is None else {"Authorization": authorization.decode("latin-1")}
    return server.request("POST", "/reload", headers=headers)


WRONG = [
    None,
    b"",
    b"Bearer",
    b"Bearer ",
    b"Bearer wrong",
    b"Bearer " + TOKEN[:-1].encode(),
    b"Bearer " + TOKEN.encode() + b"x",
    b"Basic " + TOKEN.encode(),
    TOKEN.encode(),
    b"Bearer \xff\xfe",
    b"Bearer \xc3\xa9",
]


@pytest.mark.parametrize("authorization", WRONG)
def test_without_the_token_nobody_reloads(server: Server, authorization: bytes | None) -> None:
    mark = server.mark()
    answer = reload(server, authorization)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert set(answer.json) == {"error_code", "message"}
    assert server.find("model_swapped", mark) == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_with_the_token_one_reloads(server: Server, scheme: str) -> None:
    assert reload(server, f"{scheme} {TOKEN}".encode()).status == 200


def test_a_model_does_not_find_the_token(server: Server) -> None:
    status = Path(f"/proc/{server.pid}/status").read_text()
    if not re.search(r"^CapEff:\s*0+$", status, re.MULTILINE):
        pytest.skip("with its capabilities, the server may read every process")

    def found(what: str) -> str:
        key = {"Authorization": f"Bearer {KEY}"}
        (answer,) = server.predict(text(what), key).json["predictions"]
        return str(answer)

    # What it may see shows that it looks in the right place.
    assert "POLL_INTERVAL_SECONDS" in found("own")
    for what in ("above", "gateway", "gateway's memory"):
        assert "Permission denied" in found(what)
    for what in ("own", "above", "gateway"):
        assert TOKEN not in found(what)
        assert KEY not in found(what)


def test_nobody_else_sees_into_the_servers_processes(
    start_server: StartServer, saved: SavedModels
) -> None:
    # Neither a token nor a sandbox is what hides them.
    server = without(ALL, lambda: start_server(str(saved.save(SPY)), SANDBOX="off"))
    server.wait_healthy()
    asked = ("above", "above's memory", "gateway", "gateway's memory")
    for said in server.predict(text(*asked)).json["predictions"]:
        assert "Permission denied" in said
        assert "POLL_INTERVAL_SECONDS" not in said


@only_root
def test_a_worker_has_one_socket(server: Server) -> None:
    for pid in [*server.worker_pids(), server.environment().pid]:
        process = psutil.Process(pid)
        assert [c for c in process.net_connections("inet") if c.status == "LISTEN"] == []
    (worker,) = server.worker_pids()
    targets = [str(link.readlink()) for link in Path(f"/proc/{worker}/fd").iterdir()]
    assert sum(target.startswith("socket:") for target in targets) == 1


def test_the_token_is_never_shown(server: Server) -> None:
    shown = "".join(server.lines)
    for path in ("/info", "/metrics", "/openapi.json", "/health"):
        shown += server.get(path).body.decode()
    assert TOKEN not in shown
    assert KEY not in shown


def test_the_token_may_come_from_a_file_that_changes(
    saved: SavedModels, tmp_path: Path, start_server: StartServer
) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    server = start_server(str(saved.saying("one")), RELOAD_TOKEN_FILE=str(file))
    server.wait_healthy()

    assert reload(server, None).status == 401
    assert reload(server, f"Bearer {TOKEN}".encode()).status == 200
    file.write_text("another")
    assert reload(server, f"Bearer {TOKEN}".encode()).status == 401
    assert reload(server, b"Bearer another").status == 200
    # Nothing is no token.
    file.write_text("\n")
    for empty in (b"Bearer", b"Bearer ", b""):
        assert reload(server, empty).status == 401
    file.unlink()
    for anything in (None, b"Bearer another", b"Bearer "):
        assert reload(server, anything).status == 401
    assert TOKEN not in "".join(server.lines)


def test_what_a_killed_gateway_left_is_removed_and_what_another_uses_is_not(
    saved: SavedModels, start_server: StartServer
) -> None:
    path = str(saved.saying("one"))
    runs, dies = start_server(path), start_server(path)
    for server in (runs, dies):
        server.wait_healthy()
    both = runs.release_directories()
    assert len(both) == 2

    dies.signal(signal.SIGKILL)
    dies.wait_exit()
    assert runs.release_directories() == both
    third = start_server(path)
    third.wait_healthy()

    def parents() -> set[Path]:
        return {directory.parent for directory in third.release_directories()}

    wait_until(lambda: len(parents()) == 2, "one has gone, and one has come")
    assert len(parents() & {directory.parent for directory in both}) == 1
    assert runs.predict(text("hello")).json == {"predictions": ["one"]}
    assert runs.reload().status == 200
