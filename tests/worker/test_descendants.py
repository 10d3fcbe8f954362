"""Ending a process's descendants, in whatever group or session they are."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.support.models import SavedModels
from tests.support.server import ended
from tests.support.waiting import wait_until

# Starts a child, and a grandchild in a session of its own whose parent ends at once; says their
# process ids, and ends what it is told to once its input closes.
PARENT = """
import os, subprocess, sys
from server.worker.descendants import become_reaper, end_children
become_reaper()
sleep = ["sleep", "300"]
child = subprocess.Popen(sleep)
orphan = subprocess.run(
    [sys.executable, "-c",
     "import subprocess; print(subprocess.Popen(['sleep', '300'], start_new_session=True,"
     " stdout=subprocess.DEVNULL).pid)"],
    stdout=subprocess.PIPE, text=True, check=True,
).stdout
print(child.pid, int(orphan), flush=True)
sys.stdin.readline()
end_children(keep={child.pid} if sys.argv[1] == "keep" else ())
print(child.poll(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that runs PARENT; the parameter is its argument."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, request.param],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for descendant in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()


def line(process: subprocess.Popen[str]) -> list[str]:
    """The next line that it prints, in words."""
    assert process.stdout is not None
    return process.stdout.readline().split()


def go_on(process: subprocess.Popen[str]) -> None:
    """Send it a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("parent", ["all"], indirect=True)
def test_children_and_orphans_in_sessions_of_their_own_are_ended_and_reaped(
    parent: subprocess.Popen[str],
) -> None:
    descendants = [psutil.Process(int(pid)) for pid in line(parent)]
    assert [process.ppid() for process in descendants] == [parent.pid, parent.pid]
    go_on(parent)
    line(parent)
    assert [process.is_running() for process in descendants] == [False, False]
    assert psutil.Process(parent.pid).children() == []


@pytest.mark.parametrize("parent", ["keep"], indirect=True)
def test_what_is_to_be_kept_is_left_alone(parent: subprocess.Popen[str]) -> None:
    child, orphan = (psutil.Process(int(pid)) for pid in line(parent))
    go_on(parent)
    assert line(parent) == ["None"]
    assert (child.is_running(), orphan.is_running()) == (True, False)


def test_what_a_model_started_ends_with_its_worker_when_the_gateway_is_killed(
    saved: SavedModels, start_server: StartServer, tmp_path: Path
) -> None:
    child, orphan = pid_files = [tmp_path / name for name in ("child", "orphan")]
    load = f"""
        import subprocess
        for command in (
            "echo $$ > {child}; exec sleep 300",
            "setsid sleep 300 & echo $! > {orphan}",
        ):
            subprocess.Popen(["sh", "-c", command], start_new_session=True)
    """
    path = saved.save("return ['fine'] * len(model_input)", load=load, input_example=None)
    server = start_server(str(path), SANDBOX_WRITABLE=str(tmp_path))
    server.wait_healthy()
    started = [psutil.Process(written_in(file)) for file in pid_files]
    (worker,) = map(psutil.Process, server.worker_pids())

    server.signal(signal.SIGKILL)
    server.wait_exit()

    try:
        wait_until(lambda: ended([worker, *started]), "all have ended", 10)
    finally:
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def written_in(file: Path) -> int:
    """The process id in a file, when it is there."""
    return int(wait_until(lambda: file.exists() and file.read_text(), f"{file.name} is started"))
