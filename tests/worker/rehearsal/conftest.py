"""Rehearsals in the process of the tests, of real models."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest

from server.worker.protocol import Protocol
from server.worker.rehearsal.rehearsal import Rehearsed, rehearse
from server.worker.spec import WorkerSpec

Rehearse = Callable[..., Rehearsed]


@pytest.fixture(scope="session")
def rehearsal() -> Rehearse:
    """Rehearses the saved model at a path; the options are fields of the `WorkerSpec`."""

    def run(
        path: Path, *, limit: Callable[[float | None], None] = lambda _: None, **options: Any
    ) -> Rehearsed:
        fields: dict[str, Any] = {
            "share": False,
            "directory": str(path),
            "path": str(path),
            "threads": None,
            "batching": "auto",
            "merged_formats": None,
            "max_batch_rows": 256,
            "rehearse": True,
            "rehearsal_seconds": 10.0,
            "hang_seconds": 70.0,
            "max_failures": 0.05,
            "recorded": (),
            "example_decides": False,
        }
        with warnings.catch_warnings(action="ignore"):
            model = mlflow.pyfunc.load_model(str(path))
            protocol = Protocol(model, hide=str(path))
            return rehearse(protocol, model, str(path), WorkerSpec(**(fields | options)), limit)

    return run
