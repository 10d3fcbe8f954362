"""One run of chaos, from an empty directory to a list of problems."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from tests.chaos.schedule import Schedule, Stack
from tests.chaos.story import Story
from tests.support.load import load
from tests.support.models import TEXT_REQUEST
from tests.support.server import Server, ended
from tests.support.waiting import wait_until

CLIENTS = 32
# After an outage, polls are up to a minute apart.
_CATCH_UP_SECONDS = 90.0


def run(directory: Path, seed: int, seconds: float, *, kills: bool) -> tuple[str, list[str]]:
    """Put a stack through chaos under constant load.

    Args:
        directory: For everything that is written.
        seed: Determines the schedule.
        seconds: How long the schedule goes on.
        kills: Whether workers are killed.

    Returns:
        A summary, and what is wrong; nothing, if all is well.
    """
    stack = Stack(directory)
    try:
        before = _resources(stack.server)
        story, schedule = asyncio.run(_chaos(stack, seed, seconds, kills))
        leftovers = _leftovers(stack.server, before)
        family = stack.server.processes()
        code = stack.server.stop()
        if code != 0:
            leftovers.append(f"the server ended with exit code {code}")
        wait_until(lambda: ended(family), "every process has ended")
        leftovers += [f"left behind: {path.name}" for path in stack.server.scratch.iterdir()]
    finally:
        stack.close()
    summary = f"seed {seed}: {'; '.join(schedule.done)}\n{story.summary()}"
    return summary, story.problems() + leftovers


async def _chaos(stack: Stack, seed: int, seconds: float, kills: bool) -> tuple[Story, Schedule]:
    schedule = Schedule(stack, seed, kills=kills)
    async with AsyncExitStack() as crowd:
        clients = [
            await crowd.enter_async_context(load(stack.server.url, TEXT_REQUEST, clients=1))
            for _ in range(CLIENTS)
        ]
        final = await asyncio.to_thread(schedule.run, seconds)
        await asyncio.to_thread(
            wait_until,
            lambda: stack.server.info()["metadata"]["version"] == final,
            f"v{final} serves",
            _CATCH_UP_SECONDS,
        )
        await asyncio.gather(*(client.answered(5) for client in clients))
    samples = [client.samples for client in clients]
    events = list(stack.server.events)
    return Story(samples, events, stack.promotions, schedule.kills, final), schedule


def _resources(server: Server) -> dict[str, int]:
    """What the gateway holds while nothing happens."""
    gateway = psutil.Process(server.pid)
    return {
        "processes": sum(not ended([process]) for process in server.processes()),
        "descriptors": gateway.num_fds(),
        "threads": gateway.num_threads(),
        "directories": len(server.release_directories()),
    }


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
