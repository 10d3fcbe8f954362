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

from tests.support.gateway import Client

CLIENTS = 32
REQUESTS_EACH = 8

NUMBER = ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")]))
NUMBER_EXAMPLE = pd.DataFrame({"x": [1.5, 2.5]})


async def ask(
    client: Client, bodies: Sequence[Any], clients: int = CLIENTS
) -> list[tuple[int, Any]]:
    """Post each body from one of many clients at once; return status and answer of each."""
    queue = list(enumerate(bodies))
    answers: list[tuple[int, Any]] = [(0, None)] * len(bodies)
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(client.url, connector=connector, headers=headers) as session:

        async def post() -> None:
            while queue:
                number, body = queue.pop()
                async with session.post("/invocations", data=json.dumps(body)) as response:
                    answers[number] = response.status, await response.json()

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(post())
    return answers


async def ask_alone(client: Client, bodies: Sequence[Any]) -> list[tuple[int, Any]]:
    """What each body is answered when no other request is there to share a prediction with."""
    return await ask(client, bodies, clients=1)


def numbers(seed: int = 0) -> list[float]:
    """Different inputs, one for each request."""
    generator = np.random.default_rng(seed)
    return [float(x) for x in generator.normal(0, 100, CLIENTS * REQUESTS_EACH)]
