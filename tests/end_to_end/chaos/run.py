"""One run of chaos, from an empty directory to a list of problems."""

import asyncio
import contextlib
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.end_to_end.chaos.schedule import Schedule, Stack
from tests.end_to_end.chaos.story import STREAM, Story
from tests.support.load import Load, load
from tests.support.models import TEXT_REQUEST
from tests.support.server import Server, ended
from tests.support.waiting import wait_until

CLIENTS = 32
STREAMS = 8
# After an outage, polls are up to a minute apart.
_CATCH_UP_SECONDS = 90.0


class Outcome(NamedTuple):
    """What came of a run: what happened in a few lines, what is wrong, and the server's log with
    the seconds in which the problems are told."""

    summary: str
    problems: list[str]
    log: str


def run(
    directory: Path,
    seed: int,
    seconds: float,
    *,
    kills: bool,
    streams: bool = False,
    database: Path | None = None,
    **settings: str,
) -> Outcome:
    """Put a stack through chaos under constant load.

    Args:
        directory: For everything that is written.
        seed: Determines the schedule.
        seconds: How long the schedule goes on.
        kills: Whether processes of the server are killed.
        streams: Whether the versions wait and stream, and clients ask for streams as well.
        database: An MLflow database to begin with; it is left as it is.
        settings: More settings of the server.
    """
    stack = Stack(directory, database, streams=streams, **settings)
    problems: list[str] = []
    try:
        before = _resources(stack.server)
        story, schedule, unsettled = asyncio.run(_chaos(stack, seed, seconds, kills, streams))
        problems += [*unsettled, *story.problems(), *_leftovers(stack.server, before)]
        problems += _what_remains_of(stack.server)
    finally:
        try:
            stack.close()
        except AssertionError as error:
            problems.append(f"at the end: {error}")
    summary = f"seed {seed}: {'; '.join(schedule.done)}\n{story.summary()}"
    return Outcome(summary, problems, story.log())


async def _chaos(
    stack: Stack, seed: int, seconds: float, kills: bool, streams: bool
) -> tuple[Story, Schedule, list[str]]:
    schedule = Schedule(stack, seed, kills=kills)
    async with (
        load(stack.server.url, TEXT_REQUEST, clients=CLIENTS) as crowd,
        load(stack.server.url, STREAM, clients=STREAMS if streams else 0) as streamed,
    ):
        final = await asyncio.to_thread(schedule.run, seconds)
        unsettled = await _settle(stack.server, crowd, final)
    story = Story(
        crowd.by_client,
        list(stack.server.events),
        stack.promotions,
        schedule.kills,
        schedule.losses,
        final,
        streamed.samples,
    )
    return story, schedule, unsettled


async def _settle(server: Server, crowd: Load, final: str) -> list[str]:
    """Wait until the final version answers everyone, and tell if that does not happen."""

    def serves() -> bool:
        return bool(server.info()["metadata"]["version"] == final)

    try:
        await asyncio.to_thread(wait_until, serves, f"v{final} serves", _CATCH_UP_SECONDS)
        await crowd.answered(5 * CLIENTS)
    except AssertionError as error:
        return [str(error)]
    except TimeoutError:
        return ["requests are not answered any more"]
    return []


def _resources(server: Server) -> dict[str, int]:
    """What the gateway holds while nothing happens."""
    gateway = psutil.Process(server.pid)
    running = [process for process in server.processes() if not ended([process])]
    # That of an environment process which was killed stays while anything lives that was forked
    # from that; the gateway has a descriptor of each, to collect it.
    trackers = sum(map(_is_tracker, running))
    return {
        "processes": len(running) - trackers,
        "descriptors": gateway.num_fds() - trackers,
        "threads": gateway.num_threads(),
        "directories": len(server.release_directories()),
    }


def _is_tracker(process: psutil.Process) -> bool:
    """Whether it is a resource tracker."""
    try:
        return "resource_tracker" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _leftovers(server: Server, before: dict[str, int]) -> list[str]:
    # asyncio's pool for blocking calls grows to a fixed size and stays.
    allowed = {**before, "threads": before["threads"] + 8}

    def grown() -> list[str]:
        now = _resources(server)
        return [f"{now[k]} {k}, {before[k]} before" for k in now if now[k] > allowed[k]]

    try:
        wait_until(lambda: not grown(), "what is over has gone", 15)
    except AssertionError:
        return grown()
    return []


def _what_remains_of(server: Server) -> list[str]:
    """Stop the server and name what it leaves."""
    family = server.processes()
    code = server.stop()
    problems = [f"the server ended with exit code {code}"] if code != 0 else []
    with contextlib.suppress(AssertionError):
        wait_until(lambda: ended(family), "every process has ended")
    problems += [f"process {p.pid} has not ended" for p in family if not ended([p])]
    return problems + [f"left behind: {path.name}" for path in server.scratch.iterdir()]
