"""Starting: with nothing to serve yet, and with settings that can't be used."""

import json
import os
import socket
import subprocess
import sys

import pytest

from server.settings import Settings
from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import HttpRegistry
from tests.support.server import REPOSITORY, Server
from tests.support.tracking import TrackingServer
from tests.support.waiting import wait_until


def reason(server: Server) -> str:
    """Why /health is 503, empty while it does not say."""
    health = server.get("/health")
    assert health.status == 503
    assert health.json["status"] in ("unhealthy", "loading")
    assert int(health.headers["retry-after"]) > 0
    return str(health.json["reason"])


def check_that_it_refuses(server: Server) -> None:
    """It is up and says politely that it has no model."""
    answer = server.predict(TEXT_REQUEST)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert set(answer.json) == {"error_code", "message"}
    assert server.get("/livez").status == 200
    assert server.get("/ping").status == 503
    assert server.info()["metadata"] is None
    assert server.info()["status"] != "loaded"


@pytest.mark.faults
def test_it_comes_up_without_a_registry_and_serves_once_there_is_one(
    tracking_server: TrackingServer,
    http_registry: HttpRegistry,
    model_name: str,
    saved: SavedModels,
    start_server: StartServer,
) -> None:
    http_registry.create(model_name)
    http_registry.promote(model_name, http_registry.add(model_name, saved.saying("one")))
    tracking_server.kill()
    try:
        server = start_server(
            f"models:/{model_name}/Production", MLFLOW_TRACKING_URI=tracking_server.url
        )
        wait_until(lambda: "can't be reached" in reason(server), "the reason is known")
        check_that_it_refuses(server)
        answer = server.reload()
        assert answer.status == 503
        assert "retry-after" in answer.headers
        assert answer.json["old_version"] is None
    finally:
        tracking_server.start()

    server.wait_for("registry_recovered")
    swap = server.wait_swapped("1", trigger="startup")
    assert (swap["old_version"], swap["version_changed"]) == (None, True)
    assert server.predict(TEXT_REQUEST).version == "1"
    assert len(server.find("registry_unreachable")) == 1


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m server` where it should end by itself."""
    inherited = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=REPOSITORY,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("variable", "environment"),
    [
        ("PORT", {"MODEL_URI": "models:/demo/Production", "PORT": "abc"}),
        ("MODEL_URI", {}),
        ("POLL_INTERVAL_SECONDS", {"MODEL_URI": "models:/demo/1", "POLL_INTERVAL_SECONDS": "-1"}),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_with_one_line(
    variable: str, environment: dict[str, str]
) -> None:
    ended = run(**environment)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert variable in ended.stderr
    assert environment.get(variable, "") in ended.stderr


def test_an_argument_is_refused() -> None:
    ended = run("--prot=5001", MODEL_URI="models:/demo/1")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "--help" in ended.stderr


def test_help_names_every_setting() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    assert ended.stderr == ""
    for name in Settings.model_fields:
        assert f"  {name.upper()}" in ended.stdout


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = run(MODEL_URI="models:/demo/1", HOST="127.0.0.1", PORT=port)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert port in ended.stderr


def test_what_was_logged_before_a_start_that_fails_is_not_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = subprocess.run(
            ["sh", "-c", f"ulimit -n 400; exec '{sys.executable}' -m server"],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "MODEL_URI": "models:/demo/1",
                "HOST": "127.0.0.1",
                "PORT": str(other.getsockname()[1]),
                "LOG_FORMAT": "json",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert [json.loads(line)["event"] for line in ended.stdout.splitlines()] == [
        "connections_limited"
    ]
