"""Clients that post without pause, and remember every answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: when it was sent and done (seconds, monotonic), the status (0 for a broken
    connection), the version that answered, and the answer."""

    sent: float
    done: float
    status: int
    version: str | None
    body: bytes


class Load:
    """What the clients have seen so far, all together and each by itself."""

    def __init__(self, clients: int) -> None:
        self.samples: list[Sample] = []
        self.by_client: list[list[Sample]] = [[] for _ in range(clients)]
        self.running = True

    @property
    def failures(self) -> list[Sample]:
        """Every request that was not answered with 200."""
        return [s for s in self.samples if s.status != 200]

    @property
    def versions(self) -> set[str | None]:
        """The versions that answered."""
        return {s.version for s in self.samples}

    def versions_sent_after(self, moment: float) -> set[str | None]:
        """The versions that answered what was sent after `moment` (seconds, monotonic)."""
        return {s.version for s in self.samples if s.sent > moment}

    def answers_of(self, version: str) -> set[bytes]:
        """The different bodies that came from one version."""
        return {s.body for s in self.samples if s.version == version}

    async def answered(self, count: int, seconds: float = 30.0) -> None:
        """Wait until `count` more requests have been answered."""
        target = len(self.samples) + count
        async with asyncio.timeout(seconds):
            while len(self.samples) < target:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def load(url: str, body: Any, clients: int = 64, pause: float = 0.05) -> AsyncIterator[Load]:
    """Post to a server's `/invocations` until the block ends.

    Args:
        url: Where the server listens.
        body: What is posted, as JSON.
        clients: How many post at the same time, each over a connection of its own.
        pause: Seconds between an answer and the client's next request: the machine has to load
            a model as well.
    """
    state = Load(clients)
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, headers=headers) as session:

        async def client(own: list[Sample]) -> None:
            while state.running:
                sent = time.monotonic()
                try:
                    async with session.post("/invocations", data=data) as response:
                        answer = await response.read()
                        version = response.headers.get("X-Model-Version")
                        status = response.status
                except (aiohttp.ClientError, ConnectionError) as error:
                    status, version, answer = 0, None, repr(error).encode()
                own.append(Sample(sent, time.monotonic(), status, version, answer))
                state.samples.append(own[-1])
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as group:
            for own in state.by_client:
                group.create_task(client(own))
            try:
                yield state
            finally:
                state.running = False
