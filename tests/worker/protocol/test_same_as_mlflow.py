"""The same requests get the same answers from MLflow's own server and from this one."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pandas as pd
import pytest
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema
from mlflow.types.schema import ColSpec, DataType

from tests.conftest import Connect, StartGateway
from tests.support.gateway import Gateway
from tests.support.server import REPOSITORY
from tests.worker.protocol import models
from tests.worker.protocol.conftest import Save
from tests.worker.protocol.support import JSON, columns, tensor
from tests.worker.protocol.test_names import numbered
from tests.worker.protocol.workers import strict

pytestmark = pytest.mark.mlflow_serve

SEVERAL = 8

MODELS: dict[str, tuple[type, ModelSignature | None]] = {
    "columns": (
        models.Echo,
        columns(a="long", b="double", c="string", d="boolean?", e="datetime?"),
    ),
    "tensor": (models.Echo, tensor("float32", -1, 2)),
    "params": (
        models.EchoParams,
        ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "text")]),
            params=ParamSchema([ParamSpec("temperature", DataType.double, 0.25)]),
        ),
    ),
    "nothing": (models.EchoOrRaise, None),
    "numbers for names": (models.Echo, numbered(0, 1, 2)),
}


# What `mlflow models serve` runs under uvicorn (mlflow/pyfunc/scoring_server/app.py), for several
# models in one process: importing MLflow takes seconds. Says the ports once it listens on them.
SCORING_SERVERS = """
import asyncio, json, socket, sys
import uvicorn
from mlflow.pyfunc.scoring_server import init, load_model_with_mlflow_config

async def serve(paths):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in paths]
    apps = [init(load_model_with_mlflow_config(path)) for path in paths]
    print(json.dumps([s.getsockname()[1] for s in sockets]), flush=True)
    servers = [uvicorn.Server(uvicorn.Config(app, log_level="critical")) for app in apps]
    await asyncio.gather(*(server.serve([s]) for server, s in zip(servers, sockets)))

asyncio.run(serve(sys.argv[1:]))
"""


class MlflowServers:
    """MLflow's own server of each of these models, all in one process."""

    def __init__(self, models: Iterable[Path]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCORING_SERVERS, *map(str, models)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ports(self) -> list[int]:
        """Where each of them listens, as soon as they do."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "MLflow's server ended"
        ports: list[int] = json.loads(line)
        return ports

    def stop(self) -> None:
        """End the process."""
        with self._process:
            self._process.kill()


def post(port: int, body: bytes, content_type: str) -> tuple[int, bytes]:
    """Return the status and the body of MLflow's answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": content_type}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


class Served(NamedTuple):
    """A model that MLflow serves at a port, and this server in two ways: as it does by itself, and
    several requests at a time."""

    port: int
    gateway: Gateway
    several: Gateway


@pytest.fixture(scope="module")
async def served(save: Save, start_gateway: StartGateway) -> AsyncIterator[dict[str, Served]]:
    """Every model of `MODELS`."""
    paths = {name: save(*model) for name, model in MODELS.items()}
    theirs = MlflowServers(paths.values())

    async def gateways(**settings: Any) -> list[Gateway]:
        started = [await start_gateway(model_uri=str(p), **settings) for p in paths.values()]
        for gateway in started:
            await gateway.watcher.poll()
        return started

    try:
        ours, several = await gateways(), await gateways(concurrency=SEVERAL)
        ports = await asyncio.to_thread(theirs.ports)
        yield dict(zip(paths, map(Served, ports, ours, several), strict=True))
    finally:
        theirs.stop()


class SameAnswer(Protocol):
    """Asserts that the status and the answer of the model with this name agree, NaN and infinities
    aside, which are null here; of an error, the code."""

    async def __call__(self, name: str, body: bytes, content_type: str = JSON) -> None: ...


@pytest.fixture
def same_answer(served: dict[str, Served], connect: Connect) -> SameAnswer:
    """Asks both, and this server several times at a time as well."""

    async def same_answer(name: str, body: bytes, content_type: str = JSON) -> None:
        one = served[name]
        status, expected = await asyncio.to_thread(post, one.port, body, content_type)
        ours, several = await connect(one.gateway), await connect(one.several)
        headers = {"Content-Type": content_type}
        answer = await ours.predict(body, headers)
        assert answer.status == status, (expected[:300], answer.body[:300])
        document = strict(answer.body)
        if status == 200:
            # As text, 1, 1.0 and true differ.
            assert json.dumps(document) == json.dumps(json.loads(expected, parse_constant=_null))
        elif expected.startswith(b"{"):
            assert document["error_code"] == json.loads(expected)["error_code"]
        others = await asyncio.gather(*(several.predict(body, headers) for _ in range(SEVERAL)))
        assert [(a.status, a.body) for a in others] == [(status, answer.body)] * SEVERAL

    return same_answer


def _null(_word: str) -> None:
    """What stands for NaN and the infinities."""


ROWS: list[dict[str, Any]] = [
    {"a": 1, "b": 0.1, "c": "x"},
    {"a": 2**53 + 1, "b": 1e300, "c": "déjà vu"},
]


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_records": ROWS},
        {"dataframe_records": [row | {"d": True, "e": "2024-05-06T07:08:09"} for row in ROWS]},
        {"dataframe_records": [{"c": "x", "b": 1, "a": 2}]},
        {"dataframe_records": [row | {"more": [1]} for row in ROWS]},
        {"dataframe_records": [row | {"c": None, "b": None} for row in ROWS]},
        {"dataframe_records": [{"a": 1, "b": 1}]},
        {"dataframe_records": [{"a": "x", "b": 1, "c": "x"}]},
        {"dataframe_records": []},
        {"dataframe_records": {"a": [1], "b": [1], "c": ["x"]}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 0.5, "x"], [2, 1, "y"]]}},
        {
            "dataframe_split": {
                "columns": ["a", "b", "c"],
                "index": ["r", "s"],
                "data": [[1, 0.5, "x"], [2, 1, "y"]],
            }
        },
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 0.5]]}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": []}},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 0.5, "x"]], "more": 1}},
        {"dataframe_split": [[1, 0.5, "x"]]},
        {"instances": ROWS},
        {"instances": ROWS[0]},
        {"instances": {"a": [1, 2], "b": [0.5, 1], "c": ["x", "y"]}},
        {"instances": {"a": [1, 2], "b": [0.5], "c": ["x", "y"]}},
        {"instances": ROWS, "params": {"unknown": 1}},
        {"instances": ROWS, "signature_name": "x", "more": 1},
        {"instances": []},
        {"inputs": {"a": [1, 2], "b": [0.5, 1], "c": ["x", "y"]}},
        {"inputs": ROWS},
        {"inputs": ROWS, "instances": ROWS},
        {"instances": [row | {"e": "2024-05-06T09:08:09.120+02:00"} for row in ROWS]},
        {"inputs": [row | {"e": "2024-05-06T07:08:09Z"} for row in ROWS]},
        {"rows": ROWS},
        {},
        [],
        1,
        None,
        {"messages": [{"role": "user", "content": "hi"}]},
        {"prompt": "x", "a": 1, "b": 0.5, "c": "x"},
    ],
)
async def test_columns(same_answer: SameAnswer, document: Any) -> None:
    await same_answer("columns", json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": [2, 0, 1], "data": [[2.5, 0.5, 1.5]]}},
        {"dataframe_split": {"data": [[0.5, 1.5, 2.5]]}},
        {"inputs": [[0.5, 1.5, 2.5]]},
    ],
)
async def test_numbers_for_names(same_answer: SameAnswer, document: Any) -> None:
    await same_answer("numbers for names", json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["0", "1", "2"], "data": [[0.5, 1.5, 2.5]]}},
        {"dataframe_records": [{"2": 2.5, "0": 0.5, "1": 1.5}]},
        {"inputs": {"0": [0.5], "1": [1.5], "2": [2.5]}},
    ],
)
async def test_text_for_names_that_are_numbers_is_refused_by_mlflow_only(
    served: dict[str, Served], connect: Connect, document: Any
) -> None:
    one = served["numbers for names"]
    body = json.dumps(document).encode()
    status, _ = await asyncio.to_thread(post, one.port, body, JSON)
    assert status == 400
    answer = await (await connect(one.gateway)).predict(body, {"Content-Type": JSON})
    assert strict(answer.body) == {"predictions": [{"0": 0.5, "1": 1.5, "2": 2.5}]}


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [[0.1, 2], [3, 4]]},
        {"instances": [[0.1, 2], [3, 4]]},
        {"inputs": [[0.1, 2, 3]]},
        {"inputs": [[0.1, "x"]]},
        {"inputs": [0.1, 2]},
        {"inputs": [[1e30, None]]},
        {"dataframe_split": {"columns": ["x", "y"], "data": [[0.1, 2]]}},
        {"dataframe_records": [{"x": 0.1, "y": 2.5}]},
    ],
)
async def test_tensor(same_answer: SameAnswer, document: Any) -> None:
    await same_answer("tensor", json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"instances": ["x"]},
        {"instances": ["x"], "params": {"temperature": 1}},
        {"instances": ["x"], "params": {"temperature": "hot"}},
        {"instances": ["x"], "params": {"unknown": "hot"}},
        {"instances": ["x"], "params": [1]},
        {"instances": ["x"], "params": None},
    ],
)
async def test_params(same_answer: SameAnswer, document: Any) -> None:
    await same_answer("params", json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        {"instances": ["x", "y"]},
        {"instances": [1, 0.5, None]},
        {"instances": [[1, 2], [3, 4]]},
        {"instances": ROWS},
        {"instances": "x"},
        {"inputs": {"a": [1, 2], "b": [[1], [2]]}},
        {"inputs": 1},
        {"dataframe_split": {"data": [[1, "x"], [0.5, None]]}},
        {"dataframe_records": ROWS},
        {"dataframe_records": [{"a": {"b": [1]}}, {"c": 1}]},
        {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5},
        {"prompt": "hi", "instances": [1]},
        {"input": ["a", "b"]},
    ],
)
async def test_no_signature(same_answer: SameAnswer, document: Any) -> None:
    await same_answer("nothing", json.dumps(document).encode())


@pytest.mark.parametrize("code", [*ERROR_CODE_TO_HTTP_STATUS, "QUOTA_EXCEEDED"])
async def test_mlflow_exceptions(same_answer: SameAnswer, code: str) -> None:
    await same_answer("nothing", json.dumps({"input": "x", "raise": code}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [NaN, Infinity, 1]}',
        b'{"instances": [1e400]}',
        b'{"instances": [18446744073709551616]}',
        b'{"instances": [1], "instances": [2]}',
        b'{"instances": ["\\ud800"]}',
        b'{"instances": ["a\\u0000b\\u0000"]}',
        b'\xef\xbb\xbf{"instances": [1]}',
        b'{"instances": [1',
        b"",
        b"\xff",
    ],
)
async def test_odd_json(same_answer: SameAnswer, body: bytes) -> None:
    await same_answer("nothing", body)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "application/json; charset=latin-1",
        "application/json; charset=latin-1; charset=utf-8",
        "application/json; charset=utf-8; charset=latin-1",
        "application/json; version=1",
        "text/plain",
        "application/xml",
    ],
)
async def test_content_types(same_answer: SameAnswer, content_type: str) -> None:
    await same_answer("nothing", b'{"instances": [1]}', content_type)


# MLflow refuses every CSV for the other signatures: one has dates, the other is a tensor.
@pytest.mark.parametrize("name", ["params", "nothing"])
@pytest.mark.parametrize("csv", ["text,b\nx,0.5\ny,\n", "b\n1\n", "", 'text\n"x'])
async def test_csv(same_answer: SameAnswer, name: str, csv: str) -> None:
    await same_answer(name, csv.encode(), "text/csv")


@pytest.mark.parametrize("name", ["columns", "nothing"])
async def test_parquet(same_answer: SameAnswer, name: str) -> None:
    file = BytesIO()
    pd.DataFrame(ROWS, index=[3, 4]).to_parquet(file)
    await same_answer(name, file.getvalue(), "application/vnd.apache.parquet")
    await same_answer(name, b"PAR1", "application/vnd.apache.parquet")
