"""Processes that have imported what some versions need, beside the environment process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.processes.environment import Environment
from server.processes.forker import Forked
from server.processes.model_process import Source
from tests.support.log import Log
from tests.support.server import ended
from tests.support.waiting import eventually

CHILD = "tests.support.forked:obey"

LIBRARIES = {
    "library_one": "",
    "library_two": "",
    "library_failing": "raise OSError('a file is missing')",
    "library_leaving": "import sys; sys.exit(3)",
    "library_ending": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "library_with_thread": """
import threading
threading.Thread(target=threading.Event().wait, name="telemetry", daemon=True).start()
""",
    "library_with_file": "held = open(__file__)",
    "library_slow": "import time; time.sleep(60)",
    "library_of_niceness": """
import os, pathlib, threading
niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
pathlib.Path(__file__).with_name("niceness").write_text(str(niceness))
""",
}


@pytest.fixture(scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    """One that finds these libraries installed."""
    directory = tmp_path_factory.mktemp("libraries")
    for name, code in LIBRARIES.items():
        (directory / f"{name}.py").write_text(code)
    with (directory / "log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(directory)])
        environment = Environment(log.fileno(), ())
        await environment.start()
        yield environment
        await environment.stop()


async def told_by(forked: Forked) -> Any:
    """What a child says of itself; it ends then."""
    loop = asyncio.get_running_loop()
    forked.channel.setblocking(False)
    await loop.sock_sendall(forked.channel, b"?")
    said = json.loads(await loop.sock_recv(forked.channel, 4096))
    forked.channel.close()
    await forked.child.ended
    return said


async def child_of(source: Source) -> Any:
    """What a new child says of itself."""
    return await told_by(await source.fork("child", CHILD))


async def test_only_those_who_need_modules_find_them_imported(environment: Environment) -> None:
    one, two = environment.take(("library_one",)), environment.take(("library_two",))
    said = [await child_of(source) for source in (one, two, environment)]
    assert [each["imported"] for each in said] == [["library_one"], ["library_two"], []]
    assert [each["nice"] for each in said] == [0, 0, 0]
    parents = [psutil.Process(each["parent"]) for each in said]
    assert [parent.name() for parent in parents] == ["flavor", "flavor", "environment"]
    assert [parent.num_threads() for parent in parents] == [1, 1, 1]
    # The standard ones, the resource tracker's, and the channel.
    assert [len(each["held"]) for each in said] == [5, 5, 5]
    await environment.leave(one)
    await environment.leave(two)


async def test_those_who_need_the_same_share_a_process_until_the_last_has_left(
    environment: Environment,
) -> None:
    first, second = environment.take(("library_one",)), environment.take(("library_one",))
    flavor = psutil.Process((await child_of(first))["parent"])
    await environment.leave(first)
    assert (await child_of(second))["parent"] == flavor.pid
    child = await second.fork("child", CHILD)
    await environment.leave(second)
    assert ended([flavor])
    assert flavor.pid not in environment.family
    # What it has forked lives on.
    assert (await told_by(child))["imported"] == ["library_one"]
    # A release that retires may still have to replace a worker.
    assert (await child_of(second))["parent"] == environment.pid


async def test_importing_is_nice_to_those_who_serve_and_what_is_forked_then_is_not(
    environment: Environment,
) -> None:
    for nice in (True, False):
        source = environment.take(("library_of_niceness",), nice=nice)
        assert (await child_of(source))["nice"] == 0
        await environment.leave(source)
        (path,) = [
            Path(entry, "niceness") for entry in sys.path if Path(entry, "niceness").exists()
        ]
        assert (int(path.read_text()) > 0) is nice


async def test_what_needs_nothing_comes_from_the_environment_process(
    environment: Environment,
) -> None:
    source = environment.take(())
    assert (await child_of(source))["parent"] == environment.pid
    await environment.leave(source)
    assert (await child_of(environment))["parent"] == environment.pid


async def test_what_is_not_installed_is_left_out(environment: Environment, log: Log) -> None:
    source = environment.take(("library_missing", "library_one", "library_one.missing"))
    assert (await child_of(source))["imported"] == ["library_one"]
    await environment.leave(source)
    assert log.find("flavor_not_preloaded") == []


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        ("library_failing", "can't preload library_failing: OSError('a file is missing')"),
        ("library_leaving", "can't preload library_leaving: SystemExit(3)"),
        ("library_with_thread", "a library has started a thread: telemetry"),
        ("library_with_file", "a library holds an open file: library_with_file.py"),
    ],
)
async def test_where_they_can_not_be_had_everything_goes_on_without(
    environment: Environment, log: Log, library: str, reason: str
) -> None:
    for _ in range(2):
        source = environment.take((library,))
        for _ in range(2):
            said = await child_of(source)
            assert (said["imported"], said["parent"]) == ([], environment.pid)
        await environment.leave(source)
    (told,) = log.find("flavor_not_preloaded")
    assert (told["modules"], told["error"]) == ((library,), reason)
    assert log.find("environment_lost") == []
    assert psutil.Process(environment.pid).num_threads() == 1


async def test_where_importing_ends_the_process_everything_goes_on_without(
    environment: Environment, log: Log
) -> None:
    source = environment.take(("library_ending",))
    assert (await child_of(source))["parent"] == environment.pid
    assert len(log.find("flavor_not_preloaded")) == 1
    assert log.find("environment_lost", pid=environment.pid) == []
    await environment.leave(source)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_is_lost_is_started_anew_and_what_it_forked_lives_on(
    environment: Environment, log: Log, number: int
) -> None:
    source = environment.take(("library_one",))
    child = await source.fork("child", CHILD)
    lost = psutil.Process((await child_of(source))["parent"])
    lost.send_signal(number)
    said = await child_of(source)
    assert said["imported"] == ["library_one"]
    assert said["parent"] not in (lost.pid, environment.pid)
    assert ended([lost])
    assert (await told_by(child))["imported"] == ["library_one"]
    assert log.find("environment_lost", pid=lost.pid, modules=("library_one",))
    await environment.leave(source)


async def test_one_that_is_killed_is_replaced_before_it_is_needed(environment: Environment) -> None:
    source = environment.take(("library_one",))
    lost = (await child_of(source))["parent"]
    os.kill(lost, signal.SIGKILL)

    async def another() -> bool:
        children = psutil.Process(environment.pid).children()
        return any(each.name() == "flavor" and each.pid != lost for each in children)

    await eventually(another, "another has been started")
    await environment.leave(source)


async def test_it_outlives_the_environment_process(environment: Environment) -> None:
    source = environment.take(("library_one",))
    flavor = (await child_of(source))["parent"]
    lost = psutil.Process(environment.pid)
    lost.kill()
    assert (await child_of(environment))["parent"] not in (lost.pid, flavor)
    assert (await child_of(source))["parent"] == flavor
    await environment.leave(source)


async def test_one_that_still_imports_ends_at_once_when_nobody_needs_it(
    environment: Environment,
) -> None:
    source = environment.take(("library_slow",))
    forking = asyncio.create_task(source.fork("child", CHILD))

    async def importing() -> list[psutil.Process]:
        children = psutil.Process(environment.pid).children()
        return [each for each in children if each.name() == "flavor"]

    flavors = await eventually(importing, "it imports")
    await environment.leave(source)
    assert ended(flavors)
    # Which is as if there were nothing to import.
    assert (await told_by(await forking))["parent"] == environment.pid


async def test_all_end_with_the_environment(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        environment = Environment(log.fileno(), ())
        source = environment.take(("xmlrpc.client",))
        flavor = psutil.Process((await child_of(source))["parent"])
        await environment.stop()
    assert ended([flavor])
    with pytest.raises(OSError, match="stopped"):
        await source.fork("child", CHILD)
