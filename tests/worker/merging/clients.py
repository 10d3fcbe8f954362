"""Many clients at once, and signatures and inputs for the models that they ask."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tests.support.server import Server

CLIENTS = 32
REQUESTS_EACH = 8

NUMBER = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")]))
NUMBER_EXAMPLE = pd.DataFrame({"x": [1.5, 2.5]})


async def ask_all(url: str, bodies: Sequence[Any], clients: int) -> list[tuple[int, Any]]:
    """Post each body from one of many clients at once; return status and answer of each."""
    queue = list(enumerate(bodies))
    answers: list[tuple[int, Any]] = [(0, None)] * len(bodies)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client() -> None:
            while queue:
                number, body = queue.pop()
                headers = {"Content-Type": "application/json"}
                data = json.dumps(body)
                async with session.post(url, data=data, headers=headers) as response:
                    answers[number] = response.status, await response.json()

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())
    return answers


def ask(server: Server, bodies: Sequence[Any], clients: int = CLIENTS) -> list[tuple[int, Any]]:
    """`ask_all` for a test that is not asynchronous."""
    return asyncio.run(ask_all(f"{server.url}/invocations", bodies, clients))


def ask_alone(server: Server, bodies: Sequence[Any]) -> list[tuple[int, Any]]:
    """What each body is answered when no other request is there to share a prediction with."""
    return ask(server, bodies, clients=1)


def numbers(seed: int = 0) -> list[float]:
    """Different inputs, one for each request."""
    generator = np.random.default_rng(seed)
    return [float(x) for x in generator.normal(0, 100, CLIENTS * REQUESTS_EACH)]
