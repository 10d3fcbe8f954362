"""Small requests that are meant to take much: time, and memory, in the worker."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from tests.support.live import serving
from tests.support.models import SavedModels
from tests.support.registry import Registry
from tests.support.server import Server
from tests.worker.protocol.attacks import MEMORY, SECONDS, attacks

pytestmark = pytest.mark.faults

SIGNATURES = {
    "no signature": None,
    "signature": ModelSignature(inputs=Schema([ColSpec(DataType.double, "x")])),
}
ORDINARY = {"dataframe_records": [{"x": 0.5}]}


def most_memory(pid: int) -> int:
    """The most memory that a process has had at any time, in bytes."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def start(
    tmp_path_factory: pytest.TempPathFactory, registry: Registry, saved: SavedModels
) -> Iterator[Callable[[str], Server]]:
    """Starts a server of a model with one of the signatures, which answers with its input."""
    with ExitStack() as servers:

        @cache
        def start(signature: str) -> Server:
            name = f"costly-{signature.replace(' ', '-')}"
            model = saved.save(
                "return model_input", signature=SIGNATURES[signature], input_example=None
            )
            directory = tmp_path_factory.mktemp(name)
            live = serving(directory, registry, saved, name, model, WORKERS="1")
            return servers.enter_context(live).server

        yield start


@pytest.mark.parametrize("signature", SIGNATURES)
def test_attacks_on_a_frame_hold_up_nobody(start: Callable[[str], Server], signature: str) -> None:
    server = start(signature)
    (worker,) = server.worker_pids()
    before = most_memory(worker)
    slow: dict[str, float] = {}
    for name, (content_type, body) in attacks().items():
        started = time.monotonic()
        answer = server.predict(body, {"Content-Type": content_type})
        slow[name] = time.monotonic() - started
        assert answer.status in (200, 400), name
        assert server.worker_pids() == [worker], name
        assert most_memory(worker) - before < MEMORY, name
    assert {name: seconds for name, seconds in slow.items() if seconds > SECONDS} == {}
    assert server.predict(ORDINARY).json == {"predictions": [{"x": 0.5}]}
