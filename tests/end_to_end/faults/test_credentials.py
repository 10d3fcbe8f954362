"""The credentials that a server was given: nobody reads them, in an answer or in the log."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.conftest import StartServer
from tests.end_to_end.faults.models import text
from tests.end_to_end.faults.proxy import Proxy, http
from tests.support.models import SavedModels
from tests.support.server import Server
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.untimed]

PASSWORD = "S3cret'x/y z\"4711"  # noqa: S105
TOKEN = "token-4714"  # noqa: S105

# Each would give it away.
SPELLINGS = {PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), quote_plus(PASSWORD), "4711"}

# What it raises is what libraries of databases raise, with what it finds in its environment; and
# with what only it knows.
_RAISES = """
    import os
    from urllib.parse import quote, quote_plus
    from mlflow.exceptions import MlflowException

    password = os.environ["DB_PASSWORD"]
    answers = {
        "literal": f"password {password} refused",
        "encoded": f"can't connect to postgresql://svc:{quote(password, safe='')}@db/x",
        "in a query": f"can't connect to jdbc://db/x?user=svc&pw={quote_plus(password)}",
        "its own": "can't connect to postgresql://svc:hunter2@db/x",
    }
    for text in model_input["text"]:
        if text == "raise: the token":
            raise ValueError("token " + open(os.environ["RELOAD_TOKEN_FILE"]).read())
        if text.startswith("raise: "):
            raise ValueError(answers[text.removeprefix("raise: ")])
        if text == "raise as MLflow":
            raise MlflowException(answers["literal"])
    return [answers.get(text, "fine") for text in model_input["text"]]
"""


def assert_hidden(shown: str) -> None:
    """It has nothing of the password."""
    assert [spelling for spelling in SPELLINGS if spelling in shown] == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, saved: SavedModels) -> Iterator[Server]:
    """A server with a password in its environment, of a model that raises with it."""
    scratch = tmp_path_factory.mktemp("credentials")
    model = saved.save(_RAISES, preamble="import os\nos.environ.setdefault('DB_PASSWORD', '')")
    file = scratch / "token"
    file.write_text(TOKEN)
    server = Server(
        scratch, MODEL_URI=str(model), DB_PASSWORD=PASSWORD, RELOAD_TOKEN_FILE=str(file)
    )
    server.wait_healthy()
    yield server
    server.close()


# Chunked bodies take aiohttp's ordinary way.
def _post(server: Server, row: str, *, chunked: bool) -> tuple[int, dict[str, object]]:
    body = json.dumps(text(row)).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += "Content-Type: application/json\r\n"
    if chunked:
        head += "Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status_line, _, rest = answer.partition(b"\r\n")
    return int(status_line.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


TOLD = {
    "raise: literal": "password *** refused",
    "raise: encoded": "can't connect to postgresql://***@db/x",
    "raise: in a query": "can't connect to jdbc://db/x?user=svc&pw=***",
    "raise: its own": "can't connect to postgresql://***@db/x",
    "raise: the token": "token ***",
    "raise as MLflow": "password *** refused",
}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("row", TOLD)
def test_what_a_model_raises_is_told_without_it(server: Server, row: str, chunked: bool) -> None:
    status, document = _post(server, row, chunked=chunked)
    assert (status, document["message"]) == (500 if "MLflow" in row else 400, TOLD[row])


@pytest.mark.parametrize("row", TOLD)
def test_what_a_model_raises_is_logged_without_it(server: Server, row: str) -> None:
    mark = server.mark()
    ends = f": {TOLD[row]}"

    def logged() -> bool:
        # Ten in a second are.
        _post(server, row, chunked=False)
        failed = server.find("prediction_failed", mark)
        return any(event["exception"].rstrip().endswith(ends) for event in failed)

    wait_until(logged, "it is logged")
    log = "".join(server.lines)
    assert_hidden(log)
    assert "hunter2" not in log
    assert TOKEN not in log


def test_a_token_that_has_changed_is_hidden_once_it_was_asked_for(server: Server) -> None:
    (server.scratch / "token").write_text("another-token-4715")
    assert server.reload(TOKEN).status == 401
    _, document = _post(server, "raise: the token", chunked=False)
    assert document["message"] == "token ***"


@pytest.mark.parametrize("chunked", [False, True])
def test_predictions_are_never_changed(server: Server, chunked: bool) -> None:
    expected = {
        "literal": f"password {PASSWORD} refused",
        "its own": "can't connect to postgresql://svc:hunter2@db/x",
    }
    for row, prediction in expected.items():
        assert _post(server, row, chunked=chunked) == (200, {"predictions": [prediction]})


def test_a_version_that_fails_with_it_is_told_of_without_it(
    saved: SavedModels, start_server: StartServer
) -> None:
    load = "import os; raise ValueError('no database for ' + os.environ['DB_PASSWORD'])"
    server = start_server(str(saved.save("return []", load=load)), DB_PASSWORD=PASSWORD)
    server.wait_for("reload_failed")
    told = "ValueError: no database for ***"
    assert server.get("/health").json["reason"] == f"load: {told}"
    assert server.info()["last_reload"]["error"] == f"load: {told}"
    assert server.reload().json["message"].endswith(f"not reloaded, load failed: {told}")
    assert server.find("reload_failed")[-1]["error"] == told
    assert_hidden("".join(server.lines))


# What a registry may say, or a proxy in front of it.
_WORDS = f"nobody knows svc:{PASSWORD} or {quote(PASSWORD, safe='')} in table users".encode()


@pytest.mark.parametrize("token", ["", TOKEN])
def test_what_the_registry_says_is_for_the_log_and_for_who_shows_the_token(
    healed: Proxy, scratch: Path, start_server: StartServer, token: str
) -> None:
    healed.suffer(http("403 Forbidden", _WORDS))
    server = start_server(
        "models:/any-model/Production",
        MLFLOW_TRACKING_URI=healed.url.replace("//", f"//svc:{quote(PASSWORD, safe='')}@"),
        RELOAD_TOKEN=token,
    )
    outage = server.wait_for("registry_unreachable")
    assert "table users" in outage["error"]

    public = "the model registry can't be reached: the server's log says why"
    assert server.get("/health").json["reason"] == public
    answer = server.reload(token)
    assert answer.status == 503
    assert ("table users" in answer.json["message"]) == bool(token)
    assert answer.json["message"].endswith(public) == (not token)
    for path in ("/health", "/ping", "/info"):
        shown = server.get(path).body.decode()
        assert "can't be reached: the server's log says why" in shown
        assert "table users" not in shown
        assert_hidden(shown)
    assert_hidden(answer.body.decode())
    assert_hidden("".join(server.lines))
    assert TOKEN not in "".join(server.lines)


def test_a_missing_alias_is_named_without_the_registry_s_words(
    healed: Proxy, start_server: StartServer
) -> None:
    error = {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "Registered alias: see table users",
    }
    words = http("400 Bad Request", json.dumps(error).encode(), "Content-Type: application/json")
    healed.suffer(words)
    uri = "models:/any-model@champion"
    server = start_server(uri, MLFLOW_TRACKING_URI=healed.url)
    missing = server.wait_for("version_missing")
    assert "table users" in missing["error"]
    assert server.get("/health").json["reason"] == f"the registry has nothing for {uri}"
    answer = server.reload()
    assert answer.status == 404
    assert answer.json["message"].endswith(f"the registry has nothing for {uri}")
    assert "table users" not in server.get("/info").body.decode()
