"""Processes that fork on request, and what becomes of their children when they end."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.processes import forker as processes_forker
from server.processes.environment import Environment
from server.processes.forker import Forked, Forker, ForkFailed
from tests.support.server import REPOSITORY, ended
from tests.support.waiting import eventually

CHILD = "tests.support.forked:obey"


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    """One of these tests' own, which imports little."""
    with (tmp_path_factory.mktemp("environment") / "log").open("wb") as log:
        environment = Environment(log.fileno(), ())
        yield environment
        await environment.stop()


async def tell(forked: Forked, what: bytes) -> None:
    forked.channel.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(forked.channel, what)


async def ask(forked: Forked) -> Any:
    await tell(forked, b"?")
    return json.loads(await asyncio.get_running_loop().sock_recv(forked.channel, 4096))


async def let_go(forked: Forked) -> int | None:
    """Close the channel, and return the exit code."""
    forked.channel.close()
    return await forked.child.exit_code()


async def test_a_child_has_no_descriptors_but_its_own(environment: Environment) -> None:
    others = [await environment.fork("other", CHILD) for _ in range(2)]
    child = await environment.fork("child", CHILD)
    said = await ask(child)
    assert said["name"] == "child"
    # The standard ones, the resource tracker's, and the channel.
    assert len(said["held"]) == 5
    # So each one sees the end of its own channel, and of no other.
    assert await let_go(others[0]) == 0
    assert (await ask(others[1]))["name"] == "other"
    assert [await let_go(each) for each in (child, others[1])] == [0, 0]


async def test_exit_codes_are_told(environment: Environment) -> None:
    left, raised, killed = [await environment.fork("child", CHILD) for _ in range(3)]
    await tell(left, b"x")
    await tell(raised, b"r")
    killed.child.kill()
    codes = [await each.child.exit_code() for each in (left, raised, killed)]
    assert codes == [7, 1, -signal.SIGKILL]
    assert environment.family == {environment.pid, *tracker(environment)}
    for each in (left, raised, killed):
        each.channel.close()


def tracker(environment: Environment) -> set[int]:
    """The resource tracker's process id."""
    return {p.pid for p in psutil.Process(environment.pid).children() if p.name() != "child"}


async def test_many_ask_at_once(environment: Environment) -> None:
    forked = await asyncio.gather(*(environment.fork("child", CHILD) for _ in range(30)))
    assert len({each.child.pid for each in forked}) == 30
    assert {await let_go(each) for each in forked} == {0}


async def test_who_gives_up_waiting_leaves_nothing_behind(environment: Environment) -> None:
    await let_go(await environment.fork("child", CHILD))
    held = len([*Path("/proc/self/fd").iterdir()])
    # Before it is asked, while it forks, and when it has answered.
    for seconds in (0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016):
        asking = asyncio.create_task(environment.fork("child", CHILD))
        done, _ = await asyncio.wait([asking], timeout=seconds)
        asking.cancel()
        if done:
            await let_go(asking.result())
        else:
            with pytest.raises(asyncio.CancelledError):
                await asking
    forked = await environment.fork("child", CHILD)
    assert await let_go(forked) == 0

    async def nothing_left() -> bool:
        children = psutil.Process(environment.pid).children()
        return ended([p for p in children if p.name() == "child"])

    await eventually(nothing_left, "they have ended")
    assert len([*Path("/proc/self/fd").iterdir()]) == held


@pytest.fixture
async def asked() -> AsyncIterator[tuple[Forker, socket.socket, list[str]]]:
    """One that is asked to fork, its other end, which the test is, and whether it was lost."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    lost: list[str] = []
    forker = Forker(os.getpid(), ours, set(), lambda: lost.append("lost"))
    yield forker, theirs, lost
    forker.close()
    theirs.close()


async def requested(theirs: socket.socket) -> int:
    """The number of the next request."""
    packet = await asyncio.get_running_loop().sock_recv(theirs, 4096)
    number: int = json.loads(packet)["fork"]
    return number


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EPIPE])
async def test_what_the_machine_refuses_may_be_asked_again(
    asked: tuple[Forker, socket.socket, list[str]], code: int
) -> None:
    forker, theirs, lost = asked
    for _ in range(2):
        asking = asyncio.create_task(forker.fork("child", CHILD))
        answer = {"fork": await requested(theirs), "errno": code}
        theirs.send(json.dumps(answer).encode())
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            await asking
        assert not isinstance(raised.value, ForkFailed)
    assert lost == []


async def test_each_has_its_time_from_when_it_is_its_turn(
    asked: tuple[Forker, socket.socket, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forker, theirs, lost = asked
    monkeypatch.setattr(processes_forker, "_FORK_SECONDS", 0.5)
    asking = [asyncio.create_task(forker.fork("child", CHILD)) for _ in range(4)]
    for _ in asking:
        answer = {"fork": await requested(theirs), "errno": errno.ENOMEM}
        # Longer than they have if it were counted for all at once.
        await asyncio.sleep(0.25)
        theirs.send(json.dumps(answer).encode())
    failed = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in failed] == [OSError] * 4
    assert lost == []


@pytest.mark.parametrize(
    "said",
    [
        b'{"exited": 1, "code": 0}',
        b'{"fork": 7, "errno": 11}',
        b'{"fork": 7, "pid": 4}',
        b'{"ready": []}',
        b'{"fork"',
    ],
)
async def test_descriptors_that_nobody_has_asked_for_are_closed(
    asked: tuple[Forker, socket.socket, list[str]], said: bytes
) -> None:
    _, theirs, _ = asked
    readable, writable = os.pipe()
    socket.send_fds(theirs, [said], [writable])
    os.close(writable)
    os.set_blocking(readable, False)

    async def closed() -> bool:
        with contextlib.suppress(BlockingIOError):
            return os.read(readable, 1) == b""
        return False

    await eventually(closed, "no other end of the pipe is left", 10)
    os.close(readable)


async def test_one_that_it_can_not_watch_is_none(environment: Environment) -> None:
    await let_go(await environment.fork("child", CHILD))
    process = psutil.Process(environment.pid)
    # The child's channel can be received, and there is no descriptor for the child.
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (lowest_free(process.pid) + 1, limits[1]))
    with pytest.raises(OSError, match="Too many open files"):
        await environment.fork("child", CHILD)
    process.rlimit(psutil.RLIMIT_NOFILE, limits)
    assert [p for p in process.children() if p.name() == "child"] == []
    assert await let_go(await environment.fork("child", CHILD)) == 0
    assert environment.pid == process.pid


def lowest_free(pid: int) -> int:
    """The number that the process's next descriptor gets."""
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_is_lost_while_it_imports_is_started_anew(
    environment: Environment, number: int
) -> None:
    await let_go(await environment.fork("child", CHILD))
    os.kill(environment.pid or 0, signal.SIGKILL)

    async def another() -> int | None:
        return environment.pid if environment.pid not in lost else None

    lost = [environment.pid]
    importing = await eventually(another, "another has been started")
    assert importing
    os.kill(importing, number)
    started = time.monotonic()
    assert await let_go(await environment.fork("child", CHILD)) == 0
    assert environment.pid not in (*lost, importing)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_children_outlive_it_and_another_takes_its_place(
    environment: Environment, number: int
) -> None:
    child = await environment.fork("child", CHILD)
    before = psutil.Process(environment.pid)
    os.kill(before.pid, number)
    other = await environment.fork("child", CHILD)
    assert environment.pid not in (None, before.pid)
    assert ended([before])
    assert (await ask(child))["name"] == "child"
    # Whoever could tell has ended.
    assert await let_go(child) is None
    assert await let_go(other) == 0


async def test_one_that_is_lost_again_and_again_is_started_after_a_pause_or_when_needed() -> None:
    environment = Environment(2, ())
    lost: list[int | None] = []

    async def another() -> int | None:
        return environment.pid if environment.pid not in lost else None

    async def lose() -> float:
        await let_go(await environment.fork("child", CHILD))
        lost.append(environment.pid)
        os.kill(environment.pid or 0, signal.SIGKILL)
        return time.monotonic()

    await lose()
    await eventually(another, "it is started at once")
    killed_at = await lose()
    await eventually(another, "it is started later")
    assert time.monotonic() - killed_at >= 1.0
    await lose()
    assert await let_go(await environment.fork("child", CHILD)) == 0
    assert environment.pid not in lost
    await environment.stop()


def test_the_interpreters_options_are_handed_on() -> None:
    code = """
import asyncio
from pathlib import Path
from server.processes.environment import Environment

async def main():
    environment = Environment(2, ())
    await environment.start()
    # Its files are closed, by which its start is told, a moment before it has a command line.
    while not (line := Path(f"/proc/{environment.pid}/cmdline").read_text()):
        await asyncio.sleep(0.01)
    print(line.partition("-c")[0])
    await environment.stop()

asyncio.run(main())
"""
    options = ["-O", "-s", "-Wdefault::UserWarning", "-X", "utf8"]
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(options) <= set(done.stdout.split("\0"))


async def test_it_ends_at_once_when_it_is_told_to() -> None:
    environment = Environment(1, ())
    await environment.start()
    started = time.monotonic()
    await environment.stop()
    # Without waiting for its imports.
    assert time.monotonic() - started < 1
    with pytest.raises(OSError, match="stopped"):
        await environment.fork("child", CHILD)
