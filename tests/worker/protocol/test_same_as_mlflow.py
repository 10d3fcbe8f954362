"""The same requests get the same answers from a real `mlflow models serve` and from this server."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema
from mlflow.types.schema import ColSpec, DataType

from tests.support.registry import Registry
from tests.support.server import REPOSITORY, Server
from tests.worker.protocol import models
from tests.worker.protocol.conftest import Save
from tests.worker.protocol.support import JSON, columns, tensor
from tests.worker.protocol.workers import strict

pytestmark = pytest.mark.mlflow_serve

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
    "nothing": (models.Echo, None),
}


class MlflowServer:
    """An `mlflow models serve` of one model, in a process group of its own."""

    def __init__(self, model: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)]
        command += ["-p", str(self._port), "--env-manager", "local"]
        # `serve` looks for uvicorn on the path.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._process = subprocess.Popen(
            command,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self, seconds: float) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "mlflow models serve ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/ping", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError

    def post(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        """Return the status and the body of its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/invocations", body, {"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def stop(self) -> None:
        """End the process and its children."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


Both = tuple[MlflowServer, Server]


@pytest.fixture(scope="session")
def served(
    save: Save, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Both]]:
    """Every model of `MODELS`, served by MLflow and by this server."""
    paths = {name: save(*model) for name, model in MODELS.items()}
    with contextlib.ExitStack() as ends:
        both: dict[str, Both] = {}
        for name, path in paths.items():
            theirs = MlflowServer(path)
            ends.callback(theirs.stop)
            ours = Server(
                tmp_path_factory.mktemp(name),
                MODEL_URI=str(path),
                MLFLOW_TRACKING_URI=registry.uri,
            )
            ends.callback(ours.close)
            both[name] = (theirs, ours)
        for theirs, ours in both.values():
            theirs.wait(120)
            ours.wait_healthy(120)
        yield both


def assert_same_answer(both: Both, body: bytes, content_type: str = JSON) -> None:
    """Assert that status and answer agree, NaN and infinities aside, which are null here."""
    theirs, ours = both
    status, expected = theirs.post(body, content_type)
    answer = ours.predict(body, {"Content-Type": content_type})
    assert answer.status == status, (expected[:300], answer.body[:300])
    document = strict(answer.body)
    if status == 200:
        # As text, 1, 1.0 and true differ.
        assert json.dumps(document) == json.dumps(json.loads(expected, parse_constant=_null))


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
        {"rows": ROWS},
        {},
        [],
        1,
        None,
        {"messages": [{"role": "user", "content": "hi"}]},
        {"prompt": "x", "a": 1, "b": 0.5, "c": "x"},
    ],
)
def test_columns(served: dict[str, Both], document: Any) -> None:
    assert_same_answer(served["columns"], json.dumps(document).encode())


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
def test_tensor(served: dict[str, Both], document: Any) -> None:
    assert_same_answer(served["tensor"], json.dumps(document).encode())


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
def test_params(served: dict[str, Both], document: Any) -> None:
    assert_same_answer(served["params"], json.dumps(document).encode())


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
def test_no_signature(served: dict[str, Both], document: Any) -> None:
    assert_same_answer(served["nothing"], json.dumps(document).encode())


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
def test_odd_json(served: dict[str, Both], body: bytes) -> None:
    assert_same_answer(served["nothing"], body)


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
def test_content_types(served: dict[str, Both], content_type: str) -> None:
    assert_same_answer(served["nothing"], b'{"instances": [1]}', content_type)


# MLflow refuses every CSV for the other signatures: one has dates, the other is a tensor.
@pytest.mark.parametrize("name", ["params", "nothing"])
@pytest.mark.parametrize("csv", ["text,b\nx,0.5\ny,\n", "b\n1\n", "", 'text\n"x'])
def test_csv(served: dict[str, Both], name: str, csv: str) -> None:
    assert_same_answer(served[name], csv.encode(), "text/csv")


@pytest.mark.parametrize("name", ["columns", "nothing"])
def test_parquet(served: dict[str, Both], name: str) -> None:
    file = BytesIO()
    pd.DataFrame(ROWS, index=[3, 4]).to_parquet(file)
    assert_same_answer(served[name], file.getvalue(), "application/vnd.apache.parquet")
    assert_same_answer(served[name], b"PAR1", "application/vnd.apache.parquet")
