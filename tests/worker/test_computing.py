"""What the kernel tells of those that want a core."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.worker import computing
from server.worker.computing import pressure, unhurried
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not Path("/proc/pressure/cpu").exists(), reason="this kernel tells of no pressure"
)


@pytest.fixture
def busy() -> Iterator[None]:
    """More processes than there are cores."""
    with ExitStack() as stack:
        for _ in range(1 + (os.cpu_count() or 1)):
            process = subprocess.Popen([sys.executable, "-Sc", "while True: pass"])
            stack.enter_context(process)
            stack.callback(process.kill)
        yield


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where pressure is looked for."""
    files = [Path("/there/is/no/such/group/cpu.pressure"), Path("/proc/pressure/cpu")]
    monkeypatch.setattr(computing, "_pressure_files", lambda: files)
    return files


def _grows_by(nanoseconds: int) -> None:
    before = pressure()
    assert before is not None

    def grown() -> bool:
        now = pressure()
        return now is not None and now - before >= nanoseconds

    wait_until(grown, "something waits for a core")


def test_on_a_busy_machine_it_grows(busy: None) -> None:
    _grows_by(100_000_000)


def test_where_the_group_is_not_told_of_the_machine_is(groups: list[Path], busy: None) -> None:
    _grows_by(1_000_000)
    groups.pop()
    assert pressure() is None


def test_a_clock_of_ones_own_stands_still_while_others_have_the_core(busy: None) -> None:
    began, own = time.monotonic(), unhurried()

    def has_fallen_behind() -> bool:
        sum(range(1_000_000))
        return (time.monotonic() - began) - (unhurried() - own) > 0.1

    wait_until(has_fallen_behind, "it has waited for a core")


def test_and_goes_on_while_the_thread_waits_for_something_else() -> None:
    own = unhurried()
    threading.Event().wait(0.1)
    assert unhurried() - own > 0.09
