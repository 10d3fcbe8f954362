"""The demo's processes: ports, logs, and an end that leaves nothing."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.events import describe
from demo.processes import Failed, Interrupted, Processes
from demo.settings import BadSetting, read_ports
from demo.tail import Tail
from tests.support.waiting import wait_until

# A process that ends when asked, and whose own child refuses to.
STUBBORN = """
import signal, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]
)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where modules named `stubborn`, `failing` and `brief` are found."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "failing.py").write_text("print('out of luck', flush=True)\nraise SystemExit(3)")
    (tmp_path / "brief.py").write_text("import sys\nprint('hello', *sys.argv[1:])")
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_ending_leaves_no_process(directory: Path) -> None:
    with Processes(directory, logs=directory) as processes:
        child = processes.start("first", ["stubborn"], {})
        while not (pid := child.log.read_text().strip()):
            processes.tick()
    assert child.exit_code == -signal.SIGTERM
    wait_until(lambda: not is_running(int(pid)), "it has ended", 10)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_last_started_is_first_ended(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Processes(directory, logs=directory) as processes:
        for name in ("first", "second"):
            processes.start(name, ["stubborn"], {})
    assert capsys.readouterr().out == "Ending second ...\nEnding first ...\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_interrupts_the_wait(directory: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Processes(directory, logs=directory) as processes:
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            processes.tick()
    assert signal.getsignal(number) is before


def test_death_of_a_child_is_told_with_the_end_of_its_log(directory: Path) -> None:
    with Processes(directory, logs=directory) as processes:
        processes.start("unlucky", ["failing"], {})
        with pytest.raises(Failed, match=r"(?s)unlucky ended by itself.*code 3.*out of luck"):
            wait(processes)


def wait(processes: Processes) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        processes.tick()


def test_child_that_never_gets_healthy_is_told(directory: Path, unused_tcp_port: int) -> None:
    with Processes(directory, logs=directory) as processes:
        child = processes.start("silent", ["stubborn"], {})
        with pytest.raises(Failed, match=r"silent isn't healthy after 0\.5 s"):
            processes.wait_until_healthy(child, unused_tcp_port, 0.5)


def test_run_shows_the_output(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Processes(directory, logs=directory) as processes:
        processes.run("greeting", ["brief", "you"], {})
        with pytest.raises(Failed, match="unlucky failed"):
            processes.run("unlucky", ["failing"], {})
    assert capsys.readouterr().out == "hello you\nout of luck\n"


@pytest.mark.parametrize("variable", ["DEMO_MLFLOW_PORT", "DEMO_TOPIC_PORT", "DEMO_SENTIMENT_PORT"])
def test_taken_port_is_told_with_what_to_do(
    taken: int, variable: str, free_ports: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(taken))
    with pytest.raises(BadSetting, match=rf"(?s)Port {taken} is taken\..*{variable}=\d+ make demo"):
        read_ports()


@pytest.mark.parametrize("text", ["abc", "0", "65536", "-1", "\u0665"])
def test_port_must_be_a_port(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_MLFLOW_PORT", text)
    with pytest.raises(BadSetting, match="DEMO_MLFLOW_PORT"):
        read_ports()


def test_ports_must_differ(free_ports: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_MLFLOW_PORT", os.environ["DEMO_TOPIC_PORT"])
    with pytest.raises(BadSetting, match="must differ"):
        read_ports()


def test_free_ports_are_read(free_ports: None) -> None:
    ports = read_ports()
    assert ports.mlflow.number == int(os.environ["DEMO_MLFLOW_PORT"])
    assert ports.topics.url == f"http://localhost:{os.environ['DEMO_TOPIC_PORT']}"


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch, unused_tcp_port_factory: object) -> None:
    """Ports of the demo that nobody listens on."""
    assert callable(unused_tcp_port_factory)
    for variable in ("DEMO_MLFLOW_PORT", "DEMO_TOPIC_PORT", "DEMO_SENTIMENT_PORT"):
        monkeypatch.setenv(variable, str(unused_tcp_port_factory()))


def test_tail_gives_each_line_once_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as log, Tail(path) as tail:
        print("one", "tw", sep="\n", end="", file=log, flush=True)
        assert tail.new_lines() == ["one"]
        print("o", file=log, flush=True)
        assert tail.new_lines() == ["two"]
        assert tail.new_lines() == []


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            {"event": "version_moved", "old_version": "v1", "new_version": "v2"},
            "version_moved  the registry says v2, v1 serves",
        ),
        (
            {"event": "model_swapped", "new_version": "v2", "trigger": "watcher"},
            "model_swapped  v2 serves (trigger: watcher)",
        ),
        (
            {"event": "reload_failed", "failed_version": "v2", "error": "it raised"},
            "reload_failed  v2: it raised",
        ),
        ({"event": "server_started"}, None),
        (["model_swapped"], None),
    ],
)
def test_moves_of_versions_are_put_into_words(event: object, sentence: str | None) -> None:
    assert describe(json.dumps(event)) == sentence


def test_what_is_not_json_is_passed_over() -> None:
    assert describe("Traceback (most recent call last):") is None
