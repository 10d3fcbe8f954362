"""Whether a process that has loaded a model may be forked, as it finds by looking."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

# Looks, runs `load`, looks again, and says what it found, in how many seconds, and what it holds.
PROCESS = """
import json, os, sys, threading, time
from server.worker.descendants import become_reaper
from server.worker import sharing
become_reaper()
def is_open(number):
    try:
        return os.fstat(number)
    except OSError:
        return None
{before}
before = sharing.look()
{load}
descriptors = list(filter(is_open, range(64)))
began = time.perf_counter()
reason = sharing.what_forbids_forking(before, threads=[threading.get_native_id()])
seconds = time.perf_counter() - began
left_open = not set(filter(is_open, range(64))).issubset(descriptors)
print(json.dumps(dict(reason=reason, seconds=seconds, left_open=left_open)), flush=True)
{after}
os._exit(0)
"""


def look(load: str, tmp_path: Path, *, before: str = "", after: str = "") -> dict[str, Any]:
    """What a process finds that runs `load` between its looks."""
    (tmp_path / "words.txt").write_text("words")
    parts = {"before": before, "load": load, "after": after}
    code = PROCESS.format(**{name: textwrap.dedent(part) for name, part in parts.items()})
    code = code.replace("WORDS", repr(str(tmp_path / "words.txt")))
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=30
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    assert not found["left_open"]
    return found


HARMLESS = {
    "nothing": "",
    "memory and closed files": """
        words = open(WORDS).read()
        numbers = list(range(100_000))
    """,
    "devices without state": """
        held = [open("/dev/null", "w"), open("/dev/full", "w"), open("/dev/zero", "rb")]
    """,
    "a thread that was joined": """
        thread = threading.Thread(target=time.sleep, args=(0.001,))
        thread.start()
        thread.join()
    """,
    "a thread that is about to end": """
        threading.Thread(target=time.sleep, args=(0.05,)).start()
    """,
    "a pool that was left": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(abs, range(8)))
    """,
    "a pool that is garbage": """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(4)
        list(pool.map(abs, range(8)))
        pool.itself = pool
        del pool
    """,
    "a file that is garbage": """
        file = open(WORDS)
        cycle = [file]
        cycle.append(cycle)
        del file, cycle
    """,
    "a process that has ended": """
        import subprocess
        subprocess.run(["true"])
    """,
    "a process that has ended and was not waited for": """
        import subprocess
        child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
        child.stdout.read()
        child.stdout.close()
    """,
    "standard error that goes nowhere": """
        nowhere = os.open("/dev/null", os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    """,
    "memory of its own": """
        import mmap
        held = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    """,
}


@pytest.mark.parametrize("load", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_process_that_holds_nothing_new_may_be_forked(load: str, tmp_path: Path) -> None:
    assert look(load, tmp_path)["reason"] is None


FORBIDDING = {
    "a thread": (
        """
        threading.Thread(target=time.sleep, args=(60,), name="monitor", daemon=True).start()
        """,
        "the model has started a thread: monitor",
    ),
    "a thread that Python does not know": (
        """
        import _thread
        _thread.start_new_thread(time.sleep, (60,))
        """,
        "the model has started a thread",
    ),
    "a pool": (
        """
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1, thread_name_prefix="io")
        pool.submit(abs, 1).result()
        """,
        "the model has started a thread: io_0",
    ),
    "a file": ("held = open(WORDS)", "the model holds an open file: words.txt"),
    "a file that was removed": (
        """
        held = open(WORDS)
        os.remove(WORDS)
        """,
        "the model holds an open file: words.txt",
    ),
    "a folder": ("held = os.open('/proc', os.O_RDONLY)", "the model holds an open folder: proc"),
    "a file in memory": (
        "held = os.memfd_create('scratch')",
        "the model holds an open file: memfd:scratch",
    ),
    "a mapped file": (
        """
        import mmap
        with open(WORDS) as file:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        """,
        "the model holds an open file: words.txt",
    ),
    "a database": (
        """
        import sqlite3
        held = sqlite3.connect(WORDS + ".db")
        held.execute("create table t (c)")
        """,
        "the model holds an open file: words.txt.db",
    ),
    "a socket": (
        """
        import socket
        held = socket.socket()
        """,
        "the model holds an open socket",
    ),
    "a pipe": ("held = os.pipe()", "the model holds an open pipe"),
    "a terminal": (
        "held = os.open('/dev/ptmx', os.O_RDWR)",
        "the model holds an open device: ptmx",
    ),
    "random bytes that were read ahead": (
        """
        held = open("/dev/urandom", "rb")
        held.read(1)
        """,
        "the model holds an open device: urandom",
    ),
    "an epoll": (
        """
        import select
        held = select.epoll()
        """,
        "the model holds an open descriptor: eventpoll",
    ),
    "an eventfd": ("held = os.eventfd(0)", "the model holds an open descriptor: eventfd"),
    "an event loop": (
        """
        import asyncio
        held = asyncio.new_event_loop()
        """,
        "the model holds an open descriptor: eventpoll; the model holds an open socket",
    ),
    "standard output closed": (
        """
        saved = os.dup(1)
        os.close(1)
        sys.stdout = os.fdopen(saved, "w")
        """,
        "the model holds an open pipe; the model has closed what it had not opened",
    ),
    "standard error closed": ("os.close(2)", "the model has closed what it had not opened"),
    "shared memory without a name": (
        """
        import mmap
        held = mmap.mmap(-1, 8192)
        """,
        "the model shares memory that can be written to",
    ),
    "a timer": (
        """
        import signal
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 60, 60)
        """,
        "the model has set a timer",
    ),
}


@pytest.mark.parametrize(("load", "reason"), FORBIDDING.values(), ids=FORBIDDING.keys())
def test_what_a_fork_would_share_or_lose_forbids_it(load: str, reason: str, tmp_path: Path) -> None:
    assert look(load, tmp_path)["reason"] == reason


@pytest.mark.parametrize(
    "load",
    [
        "held = multiprocessing.Lock()",
        "held = multiprocessing.Value('i', 0)",
        "held = shared_memory.SharedMemory(create=True, size=64); held.unlink()",
    ],
    ids=["Lock", "Value", "SharedMemory"],
)
def test_what_multiprocessing_shares_forbids_a_fork(load: str, tmp_path: Path) -> None:
    before = "import multiprocessing; from multiprocessing import shared_memory"
    reason = look(load, tmp_path, before=before)["reason"]
    assert "the model shares memory that can be written to" in reason


@pytest.mark.parametrize(
    "command",
    ["['sleep', '60']", "['sh', '-c', 'setsid sleep 60 & exit']"],
    ids=["child", "daemon"],
)
def test_a_process_that_the_model_leaves_forbids_a_fork(command: str, tmp_path: Path) -> None:
    load = f"""
        import subprocess
        child = subprocess.Popen({command})
        if "sh" in child.args:
            child.wait()
        from server.worker.descendants import children
        while [child.name for child in children()] != ["sleep"]:
            pass
    """
    after = """
        from server.worker.descendants import end_children
        end_children()
    """
    found = look(load, tmp_path, after=after)
    assert found["reason"] == "the model has started a process: sleep"


REPLACED = {
    "a file by another": (
        "held = os.open(WORDS, os.O_RDONLY)",
        "other = os.open('/proc/self/stat', os.O_RDONLY); os.dup2(other, held); os.close(other)",
        "the model holds an open file: stat",
    ),
    "a pipe by a socket": (
        "import socket; held, _ = os.pipe()",
        "other = socket.socket(); os.dup2(other.fileno(), held); other.close()",
        "the model holds an open socket",
    ),
    "an eventfd by another": (
        "held = os.eventfd(0)",
        "other = os.eventfd(0); os.dup2(other, held); os.close(other)",
        "the model holds an open descriptor: eventfd",
    ),
}


@pytest.mark.parametrize(("before", "load", "reason"), REPLACED.values(), ids=REPLACED.keys())
def test_a_descriptor_that_now_refers_to_something_else_counts(
    before: str, load: str, reason: str, tmp_path: Path
) -> None:
    assert look(load, tmp_path, before=before)["reason"] == reason


def test_what_was_held_before_does_not_count(tmp_path: Path) -> None:
    before = """
        import mmap, select, socket, subprocess
        held = [open(WORDS), socket.socket(), select.epoll(), os.eventfd(0), mmap.mmap(-1, 8192)]
        child = subprocess.Popen(["sleep", "60"])
    """
    load = """
        held[0].read()
        held[1].setblocking(False)
        held[4][:4] = b"more"
    """
    assert look(load, tmp_path, before=before, after="child.kill()")["reason"] is None


def test_names_are_shown_without_what_upsets_a_log_and_the_text_is_bounded(tmp_path: Path) -> None:
    load = r"""
        held = [
            open(os.open(WORDS + f"\x1b[31m\n{number}" + "long" * 40, os.O_CREAT | os.O_RDONLY))
            for number in range(9)
        ]
    """
    reason = look(load, tmp_path)["reason"]
    assert reason.isprintable()
    assert str(tmp_path) not in reason
    assert reason.endswith("; and 4 more")
    assert len(reason) < 600


def test_a_look_takes_a_few_milliseconds_in_a_process_of_2000_mappings(tmp_path: Path) -> None:
    load = """
        import mmap
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        held = [mmap.mmap(-1, 4096, flags, 1 + number % 2 * 2) for number in range(2000)]
        sharing.what_forbids_forking(before, threads=[threading.get_native_id()])
    """
    found = min((look(load, tmp_path) for _ in range(3)), key=lambda found: found["seconds"])
    assert found["reason"] is None
    assert found["seconds"] < 0.02


@pytest.mark.skipif(os.getuid() != 0, reason="takes away /proc, which only root can")
@pytest.mark.parametrize("when", ["before", "load"])
def test_a_process_that_cannot_look_must_not_be_forked(when: str, tmp_path: Path) -> None:
    parts = {"before": "", "load": "", when: f"os.chroot({str(tmp_path)!r})"}
    reason = look(parts["load"], tmp_path, before=parts["before"])["reason"]
    assert reason == "the system does not show what the model holds"
