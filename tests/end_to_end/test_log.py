"""The log: its events and their fields, and all that others print, as JSON."""

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.conftest import StartServer
from tests.support.events import EVERY_LINE, FIELDS
from tests.support.live import Live
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import REPOSITORY, Server
from tests.support.waiting import wait_until

# That every line is JSON and every event has its fields is checked when a server is closed, for
# each server of each test.


def wait_for_polls(server: Server, count: int) -> None:
    """Wait until the watcher has asked the registry so many times."""
    polls: set[str] = set()

    def seen() -> int:
        polls.add(server.info()["watcher"]["last_poll"])
        return len(polls)

    wait_until(lambda: seen() > count, "further polls")


def test_nothing_is_logged_while_the_version_stays(live: Live) -> None:
    live.serve("same")
    server = live.server
    server.wait_for("release_retired", count=len(server.find("model_swapped")) - 1)
    mark = server.mark()
    wait_for_polls(server, 4)
    assert server.find("model_swapped", mark) == []
    assert [e.fields for e in server.events[mark:] if e["event"] != "worker_output"] == []


# Only for this one request: a version is tried with others before it serves.
PRINTING = """
    import logging, os, subprocess, sys, warnings
    if "print" not in list(model_input["text"]):
        return ["quiet"] * len(model_input)
    print("printed")
    print("no line end", end="")
    print()
    os.write(1, b"written to 1\\n")
    os.write(2, b"written to 2\\n")
    sys.stderr.write("to standard error\\n")
    subprocess.run(["echo", "from a child process"])
    os.write(1, b"not UTF-8 \\xff\\n")
    logging.getLogger("my.model").warning("logged %s", "with arguments")
    logging.getLogger("my.model").debug("too fine to be shown")
    warnings.warn("warned of")
    return ["done"] * len(model_input)
"""


def test_what_a_model_prints_and_logs_is_in_the_log(live: Live) -> None:
    version = live.serve(live.saved.save(PRINTING, load="print('loading')"))
    server, mark = live.server, live.server.mark()
    pid = server.worker_pids()[0]
    answer = server.predict({"instances": ["print"]})
    assert answer.status == 200

    for message in (
        *("printed", "no line end", "written to 1", "written to 2", "to standard error"),
        *("from a child process", "not UTF-8 \\xff"),
    ):
        event = server.wait_for("worker_output", since=mark, message=message)
        assert (event["version"], event["pid"]) == (f"v{version}", pid)
    logged = server.wait_for("worker_output", since=mark, message="logged with arguments")
    assert (logged["level"], logged["logger"]) == ("warning", "my.model")
    assert logged["request_id"] == answer.headers["x-request-id"]
    server.wait_for("worker_output", logger="py.warnings", since=mark)
    assert server.find("worker_output", message="loading", version=f"v{version}")
    assert not [line for line in server.lines if "too fine" in line]


FORGING = r"""
    import json, logging, os
    if "forge" not in list(model_input["text"]):
        return ["honest"] * len(model_input)
    forged = {"event": "model_swapped", "level": "info", "new_version": "v666",
              "logger": "_model_server_worker", "timestamp": "1999"}
    print(json.dumps(forged))
    for event in ("model_swapped", ["model_swapped"], None):
        for fields in ({}, 1, {"event": "model_swapped"}, {"version": "v666", "level": "info"}):
            line = json.dumps({**forged, "event": event, "fields": fields})
            os.write(1, b"\x1e" + line.encode() + b"\n")
    for fields in (1, {"event": "model_swapped"}, {"version": "v666", "pid": 0, "self": 1}):
        line = json.dumps({**forged, "event": "prediction_failed", "fields": fields})
        os.write(1, b"\x1e" + line.encode() + b"\n")
    for name in ("_model_server_worker", "server.worker", "server.serving.deployment", ""):
        logging.getLogger(name).warning("model_swapped")
        logging.getLogger(name).warning("model_swapped", extra={"fields": {"event": "forged"}})
    print("the last line")
    return ["done"] * len(model_input)
"""


def test_a_model_cannot_forge_an_event(live: Live) -> None:
    server, mark = live.server, live.server.mark()
    before = server.info()["metadata"]["version"]
    version = live.serve(live.saved.save(FORGING))
    # The version before has its own last word.
    server.wait_for("release_retired", since=mark, version=f"v{before}")
    mark = server.mark()
    forge = {"instances": ["forge"]}
    assert server.predict(forge).status == 200
    server.wait_for("worker_output", since=mark, message="the last line", seconds=10)
    forged = [e for e in server.events[mark:] if e["event"] in FIELDS]
    assert forged == []
    assert {e["event"] for e in server.events[mark:]} <= {"worker_output", "prediction_failed"}
    assert {e["version"] for e in server.events[mark:]} == {f"v{version}"}
    # It is still heard, and still serves.
    assert server.predict(forge).status == 200
    server.wait_for("worker_output", since=mark, message="the last line", count=2, seconds=10)


def test_every_line_says_when_how_grave_what_and_of_which_model(live: Live) -> None:
    live.serve("any")
    for event in live.server.events:
        assert set(event.fields) >= EVERY_LINE
        moment = datetime.fromisoformat(event["timestamp"])
        assert abs((datetime.now(UTC) - moment).total_seconds()) < 3600
        assert event["level"] in ("debug", "info", "warning", "error", "critical")
        assert event["model_name"] == live.name


def test_a_server_tells_of_its_start_and_its_end(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    uri = f"models:/{model_name}/Production"
    server = start_server(uri, LOG_LEVEL="debug", MODEL_NAME="a name to show")
    server.wait_for("version_unchanged", level="debug")
    assert server.stop() == 0

    life = [e for e in server.events if e["event"].startswith("server_")]
    assert [e["event"] for e in life] == ["server_started", "server_stopping", "server_stopped"]
    started, stopping, _ = life
    assert (started["host"], started["port"]) == ("127.0.0.1", server.port)
    assert (started["model_uri"], started["model_name"]) == (uri, "a name to show")
    assert started["watching"] is True
    assert stopping["signal"] == "SIGTERM"
    first = server.find("model_swapped")[0]
    assert (first["trigger"], first["old_version"], first["new_version"]) == (
        *("startup", None, "v1"),
    )


def malformed(port: int) -> bytes:
    """Send what is no HTTP, and return the answer's first line."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nBad\x00Header: x\r\n\r\n")
        return connection.recv(4096).partition(b"\r\n")[0]


def counted(server: Server, mark: int, event: str) -> int:
    """How many of an event are in the log, or counted there as left out."""
    limited = server.find("log_lines_limited", mark, limited=event)
    return len(server.find(event, mark)) + sum(int(e["lines"]) for e in limited)


def crowds(most: int, moments: list[float]) -> list[float]:
    """Where more than so many stand within half a second."""
    return [b for a, b in zip(moments, moments[most:], strict=False) if b - a < 0.5]


def test_what_clients_cause_is_limited_and_nothing_of_it_is_lost_count_of(live: Live) -> None:
    server, mark = live.server, live.server.mark()
    began = time.monotonic()
    sent = 0
    while time.monotonic() - began < 2.5 or sent < 200:
        assert malformed(server.port).endswith(b"400 Bad Request")
        sent += 1

    wait_until(
        lambda: counted(server, mark, "request_malformed") == sent, "each is written or counted"
    )
    written = server.find("request_malformed", mark)
    assert all(e["error"] for e in written)
    # Ten in each second that has begun.
    seconds = time.monotonic() - began
    assert 10 < len(written) <= 10 * (int(seconds) + 1)
    moments = [datetime.fromisoformat(e["timestamp"]).timestamp() for e in written]
    assert crowds(20, moments) == []


FAILING = """
    for text in model_input["text"]:
        if text == "fail":
            raise ValueError("as told")
    return ["done"] * len(model_input)
"""


def test_the_tracebacks_of_a_failing_model_are_limited_and_the_first_are_whole(live: Live) -> None:
    version = live.serve(live.saved.save(FAILING))
    server, mark = live.server, live.server.mark()
    began = time.monotonic()
    for _ in range(50):
        assert server.predict({"instances": ["fail"]}).status == 400

    wait_until(
        lambda: counted(server, mark, "prediction_failed") == 50, "each is written or counted"
    )
    failed = server.find("prediction_failed", mark)
    assert len(failed) <= 10 * (int(time.monotonic() - began) + 1)
    for event in failed:
        assert event["version"] == f"v{version}"
        assert event["exception"].rstrip().endswith("ValueError: as told")


def test_on_a_console_lines_are_for_people(
    registry: Registry, model_name: str, saved: SavedModels
) -> None:
    registry.create(model_name)
    registry.promote(model_name, registry.add(model_name, saved.saying("one")))
    environment = {
        **os.environ,
        "MODEL_URI": f"models:/{model_name}/Production",
        "MLFLOW_TRACKING_URI": registry.uri,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "LOG_FORMAT": "console",
        "PRELOAD": "pandas",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "server"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "model_swapped" in line:
                process.terminate()
    assert process.returncode == 0
    assert not any(line.startswith("{") for line in lines)
    assert "server_stopped" in lines[-1]
