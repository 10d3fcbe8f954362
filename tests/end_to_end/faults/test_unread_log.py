"""A log that nobody reads, that can't be written or is closed: the server serves, and ends."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from server.log_writer import MOST_BYTES
from tests.conftest import StartServer
from tests.end_to_end.faults.models import text
from tests.support.models import SavedModels
from tests.support.ports import free_ports
from tests.support.server import REPOSITORY, Server
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

MEBIBYTE = 1024 * 1024

# As many long lines as the gateway takes of one process in a second, each with its number.
_SHOUTS = """
    import itertools, builtins
    if not hasattr(builtins, "_numbers"):
        builtins._numbers = itertools.count()
    for row in model_input["text"]:
        for number in itertools.islice(builtins._numbers, 450 if row == "shout" else 0):
            print(f"line {number} " + 15000 * "x")
        if row.startswith("say "):
            print(row)
    return ["done"] * len(model_input)
"""

# What the end of a server takes that has nothing to do, and what its log gets.
_MOST_SECONDS = 4.0


@pytest.fixture(scope="module")
def shouting(saved: SavedModels) -> Path:
    """A model that prints much more than a pipe holds, where it is asked to."""
    return saved.save(_SHOUTS)


def stuff(server: Server) -> None:
    """Have it log several times what may wait, while nobody reads."""
    server.stop_reading()
    slowest, shouts, deadline = 0.0, 0, time.monotonic() + 3
    while shouts < 4 or time.monotonic() < deadline:
        shouts += 1
        began = time.monotonic()
        assert server.predict(text("shout")).json == {"predictions": ["done"]}
        assert server.get("/livez").status == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 4


def test_while_nobody_reads_it_serves_and_what_is_lost_is_counted(
    shouting: Path, start_server: StartServer
) -> None:
    server = start_server(str(shouting))
    server.wait_healthy()
    gateway = psutil.Process(server.pid)
    before = gateway.memory_info().rss
    stuff(server)
    # What waits, and what was rendered when it did not fit.
    assert gateway.memory_info().rss - before < 8 * MOST_BYTES
    mark = server.mark()

    server.read_on()
    dropped = server.wait_for("log_lines_dropped", since=mark)
    assert dropped["lines"] > 0
    assert server.predict(text("say it again")).status == 200
    server.wait_for("worker_output", since=mark, message="say it again")

    said = [str(e["message"]) for e in server.find("worker_output")]
    numbers = [int(found[1]) for line in said if (found := re.match(r"line (\d+) ", line))]
    assert numbers == sorted(set(numbers))
    # What fits was kept, and it is told of where the rest is missing.
    kept = server.events[: server.events.index(dropped)]
    assert sum(len(str(e.fields.get("message"))) for e in kept) > MOST_BYTES // 2


def test_while_nobody_reads_a_signal_ends_it(shouting: Path, start_server: StartServer) -> None:
    server = start_server(str(shouting))
    server.wait_healthy()
    stuff(server)
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < _MOST_SECONDS


def test_what_waits_when_it_ends_is_written_for_who_reads_on(
    shouting: Path, start_server: StartServer
) -> None:
    server = start_server(str(shouting))
    server.wait_healthy()
    server.stop_reading()
    # More than a pipe holds, and less than may wait.
    assert server.predict(text("shout")).status == 200
    server.signal(signal.SIGTERM)
    # All but its log has ended.
    wait_until(lambda: len(server.processes()) <= 1, "no other process is left")
    server.read_on()
    assert server.wait_exit() == 0
    assert server.events[-1]["event"] == "server_stopped"
    assert server.find("log_lines_dropped") == []


# How a shell starts it, and which of the first three descriptors are closed then.
_CLOSED = {
    "output": (">&-", {1}),
    "errors": (">/dev/null 2>&-", {2}),
    "all": ("<&- >&- 2>&-", {0, 1, 2}),
    "full": (">/dev/full", set[int]()),
}


@pytest.fixture(scope="module")
def started(
    saved: SavedModels, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[subprocess.Popen[bytes], int]]]:
    """A server for each of these, and its port; all start at the same time."""
    model = saved.saying("one")
    with ExitStack() as stack:
        servers = {}
        for (name, (redirected, _)), port in zip(
            _CLOSED.items(), free_ports(len(_CLOSED)), strict=True
        ):
            environment = {
                **os.environ,
                "MODEL_URI": str(model),
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "PRELOAD": "pandas",
                "POLL_INTERVAL_SECONDS": "0",
                "TMPDIR": str(tmp_path_factory.mktemp("closed")),
            }
            process = subprocess.Popen(
                ["sh", "-c", f"exec '{sys.executable}' -m server {redirected}"],
                cwd=REPOSITORY,
                env=environment,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.kill)
            servers[name] = process, port
        yield servers


def _predicts(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=b'{"instances": ["some text"]}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(answer.read() == b'{"predictions":["one"]}')
    except OSError:
        return False


@pytest.mark.parametrize("name", _CLOSED)
def test_without_a_place_for_its_log_it_serves_and_ends(
    started: dict[str, tuple[subprocess.Popen[bytes], int]], name: str
) -> None:
    process, port = started[name]
    wait_until(lambda: _predicts(port), "it predicts", 90)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(_predicts, [port] * 64))
    # No client gets what was meant for them.
    for descriptor in _CLOSED[name][1]:
        assert str(Path(f"/proc/{process.pid}/fd/{descriptor}").readlink()) == os.devnull
    process.terminate()
    assert process.wait(20) == 0
