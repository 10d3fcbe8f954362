"""Refusing a request costs little: under overload most requests are refused."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from server.errors import NotServing
from server.http.authorization import api_key
from server.http.budget import Budget
from server.http.clients import Clients, Limits
from server.http.invocations import Invocations
from server.http.metrics import Metrics
from server.processes.cores import thread_variables
from server.processes.environment import Environment
from server.reading import read_settings
from server.serving.deployment import Deployment
from server.serving.scratch import Scratch
from watcher.retries import RetryPauses
from watcher.versions import ModelVersion


async def look_up() -> ModelVersion:
    """Nobody asks."""
    raise AssertionError


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_a_refusal_leaves_nothing_for_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_URI", "models:/demo/Production")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    settings = read_settings()
    scratch = Scratch()
    deployment = Deployment(
        settings, look_up, Environment(1, ()), scratch, RetryPauses(1.0), thread_variables(1)
    )
    budget = Budget(settings.bytes_in_flight)
    metrics = Metrics(deployment, Clients(Limits(connections=1), budget))
    invocations = Invocations(deployment, metrics, settings, budget, api_key(settings))
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json"}))

    late: list[bytes] = []

    def refuse() -> None:
        refused = invocations.submit(headers, b"{}", b"")
        assert isinstance(refused.answered.exception(), NotServing)
        answer = invocations.finish(refused, later=late.append)
        assert answer is not None
        assert b"503" in answer

    refuse()
    with collector_off():
        for _ in range(100):
            refuse()
        assert gc.collect() < 100
    scratch.close()
