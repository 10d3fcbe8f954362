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
    """One request: loop times in seconds, the status (0 for a broken connection), the answer."""

    sent: float
    done: float
    status: int
    version: str | None
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Load:
    """What the clients have seen so far."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.running = True

    @property
    def failures(self) -> list[Sample]:
        """Every request that was not answered with 200."""
        return [s for s in self.samples if s.status != 200]

    @property
    def versions(self) -> set[str | None]:
        """The versions that answered."""
        return {s.version for s in self.samples}

    async def answered(self, count: int, seconds: float = 30.0) -> None:
        """Wait until `count` more requests have been answered."""
        target = len(self.samples) + count
        async with asyncio.timeout(seconds):
            while len(self.samples) < target:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def load(url: str, body: Any, clients: int = 64) -> AsyncIterator[Load]:
    """Post `body` to `url` from so many clients until the block ends."""
    state = Load()
    data = json.dumps(body).encode()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            while state.running:
                sent = time.monotonic()
                try:
                    async with session.post(
                        url, data=data, headers={"Content-Type": "application/json"}
                    ) as response:
                        answer = await response.read()
                        version = response.headers.get("X-Model-Version")
                        status = response.status
                except (aiohttp.ClientError, ConnectionError) as error:
                    status, version, answer = 0, None, repr(error).encode()
                    await asyncio.sleep(0.01)
                state.samples.append(Sample(sent, time.monotonic(), status, version, answer))

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
            try:
                yield state
            finally:
                state.running = False
