"""Every route as its users know it: paths, statuses, headers, names of fields."""

import http.client
import importlib.metadata
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.live import Live
from tests.support.models import TEXT_REQUEST

MLFLOW_VERSION = importlib.metadata.version("mlflow")


@pytest.fixture
def stable(live: Live) -> Live:
    """A server that serves a model which answers "stable"."""
    if live.server.predict(TEXT_REQUEST).json != {"predictions": ["stable"]}:
        live.serve("stable")
    return live


@pytest.mark.parametrize("path", ["/health", "/ping"])
def test_health_says_what_is_served(stable: Live, path: str) -> None:
    answer = stable.server.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json == {
        "status": "healthy",
        "model_name": stable.name,
        "model_uri": f"models:/{stable.name}/Production",
    }


def test_livez_is_good_while_the_event_loop_turns(live: Live) -> None:
    assert live.server.get("/livez").status == 200


def test_version_is_mlflows_as_text(live: Live) -> None:
    answer = live.server.get("/version")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.decode() == MLFLOW_VERSION


def test_info_describes_the_version_that_serves(live: Live) -> None:
    run_id = live.registry.new_run()
    version = live.registry.add(live.name, live.saved.saying("any"), run_id)
    live.swap_to(version)
    info = live.server.info()

    assert info["model_name"] == live.name
    assert info["model_uri"] == f"models:/{live.name}/Production"
    assert info["status"] == "loaded"
    metadata = info["metadata"]
    loaded_at = datetime.fromisoformat(metadata["loaded_at"])
    assert abs((datetime.now(UTC) - loaded_at).total_seconds()) < 600
    expected = {
        "model_name": live.name,
        "version": version,
        "stage": "Production",
        "run_id": run_id,
        "status": "READY",
    }
    assert {key: metadata[key] for key in expected} == expected
    assert version.isdigit()

    assert [set(worker) for worker in info["workers"]] == [{"pid", "state"}]
    assert info["workers"][0]["state"] in ("idle", "busy")
    assert info["watcher"]["interval_seconds"] == 0.2
    assert info["watcher"]["last_outcome"] in ("moved", "unchanged")
    assert datetime.fromisoformat(info["watcher"]["last_poll"]) > datetime(2020, 1, 1, tzinfo=UTC)
    last = info["last_reload"]
    assert (last["trigger"], last["outcome"], last["error"]) == ("watcher", "swapped", None)
    assert json.loads(info["signature"]["inputs"])[0]["name"] == "text"


def test_reload_tells_that_the_version_is_the_same(stable: Live) -> None:
    version = stable.server.info()["metadata"]["version"]
    answer = stable.server.reload()
    assert answer.status == 200
    message = answer.json["message"]
    assert message.startswith(f"Model '{stable.name}' reloaded successfully")
    assert "version unchanged" in message
    expected = {
        "status": "success",
        "message": message,
        "model_uri": f"models:/{stable.name}/Production",
        "old_version": f"v{version}",
        "new_version": f"v{version}",
        "version_changed": False,
    }
    assert {key: answer.json[key] for key in expected} == expected


def test_reload_answers_404_where_the_registry_names_no_version(live: Live) -> None:
    version = live.serve("last")
    live.registry.archive(live.name, version)
    answer = live.server.reload()
    assert answer.status == 404
    message = answer.json["message"]
    assert "Production" in message
    assert answer.json == {
        "status": "error",
        "message": message,
        "model_uri": f"models:/{live.name}/Production",
        "old_version": f"v{version}",
        "version_changed": False,
    }
    assert live.server.predict(TEXT_REQUEST).version == version


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["some text"]},
        {"instances": [{"text": "some text"}]},
        {"inputs": ["some text"]},
        {"inputs": [{"text": "some text"}]},
        {"inputs": {"text": ["some text"]}},
        {"dataframe_records": [{"text": "some text"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["some text"]]}},
    ],
    ids=lambda body: f"{next(iter(body))}-{type(next(iter(body.values()))).__name__}",
)
def test_invocations_takes_every_form_of_input(stable: Live, body: Any) -> None:
    answer = stable.server.predict(body)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.version == stable.server.info()["metadata"]["version"]
    assert answer.json == {"predictions": ["stable"]}


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"{", {}),
        (400, b"\xff", {}),
        (400, b"[]", {}),
        (400, {"nothing": "known"}, {}),
        (400, {"dataframe_records": [{"another": "column"}]}, {}),
        (413, b" " * 1_000_001, {}),
        (415, b"text", {"Content-Type": "text/plain"}),
    ],
    ids=["json", "utf-8", "top level", "format", "columns", "size", "type"],
)
def test_invocations_refuses_what_it_can_not_read(
    stable: Live, status: int, body: Any, headers: dict[str, str]
) -> None:
    answer = stable.server.predict(body, headers)
    assert answer.status == status
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.json) == {"error_code", "message"}
    assert answer.json["message"]
    assert "Traceback" not in answer.json["message"]
    assert answer.headers["x-request-id"]


def test_what_is_not_there_is_said_in_json(live: Live) -> None:
    answer = live.server.get("/no/such/route")
    assert answer.status == 404
    assert set(answer.json) == {"error_code", "message"}
    assert "/no/such/route" in answer.json["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/invocations", "POST"),
        ("GET", "/reload", "POST"),
        ("POST", "/health", "GET"),
        ("DELETE", "/info", "GET"),
    ],
)
def test_a_wrong_method_is_said_in_json(live: Live, method: str, path: str, allowed: str) -> None:
    answer = live.server.request(method, path)
    assert answer.status == 405
    assert answer.json["error_code"] == "METHOD_NOT_ALLOWED"
    assert allowed in answer.headers["allow"]
    assert allowed in answer.json["message"]


@pytest.mark.parametrize("path", ["/health", "/livez", "/no/such/route", "/invocations"])
def test_the_request_id_is_taken_or_made(stable: Live, path: str) -> None:
    def request(headers: dict[str, str]) -> str:
        if path == "/invocations":
            return stable.server.predict(TEXT_REQUEST, headers).headers["x-request-id"]
        return stable.server.get(path, headers).headers["x-request-id"]

    assert request({"X-Request-ID": "of-the-client:1"}) == "of-the-client:1"
    first, second = request({}), request({})
    assert first
    assert first != second
    # What could break a line of the log, or a terminal, is replaced.
    unusable = {"X-Request-ID": 'x"\t; rm -rf'}
    assert request(unusable) not in ("", unusable["X-Request-ID"])


def test_a_connection_is_kept_for_the_next_request(stable: Live) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stable.server.port, timeout=10)
    body = json.dumps(TEXT_REQUEST)
    try:
        for _ in range(3):
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200
            assert json.loads(response.read())
            sock = connection.sock
            connection.request("GET", "/health")
            assert connection.getresponse().read()
            assert connection.sock is sock
    finally:
        connection.close()
