"""A worker's predictor in this process, with what the rehearsal has found."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow.pyfunc

from server.worker.frames import Answer
from server.worker.merging.batching import Predictor
from server.worker.merging.proof import Proof
from server.worker.protocol import Protocol
from server.worker.rehearsal.rehearsal import rehearse
from server.worker.spec import RecordedRequest, WorkerSpec


def rehearsed(
    path: Path, recorded: tuple[RecordedRequest, ...] = (), **settings: Any
) -> tuple[Protocol, Proof, Predictor]:
    """Load a model and rehearse it.

    Args:
        settings: Of the `WorkerSpec`.
    """
    model = mlflow.pyfunc.load_model(str(path))
    protocol = Protocol(model)
    given = {
        "batching": "auto",
        "merged_formats": None,
        "max_batch_rows": 256,
        "rehearse": True,
        "rehearsal_seconds": 10.0,
        **settings,
    }
    spec = WorkerSpec(
        path=str(path),
        directory="",
        share=False,
        threads={},
        hang_seconds=70.0,
        max_failures=0.05,
        recorded=recorded,
        **given,
    )
    found = rehearse(protocol, model, str(path), spec, lambda _: None)
    judge = found.concurrency.judge
    return protocol, found.proof, Predictor(protocol, found.proof.keys, found.proof.sizes, judge)


def parts(bodies: Sequence[Any]) -> list[memoryview]:
    """Requests as those of a batch."""
    each = ((b"application/json", b"id", json.dumps(body).encode()) for body in bodies)
    return [memoryview(part) for request in each for part in request]


def answers(predictor: Predictor, bodies: Sequence[Any], at_a_time: int) -> list[Answer]:
    """What each request is answered, so many in a batch."""
    found: list[Answer] = []
    for start in range(0, len(bodies), at_a_time):
        batch: list[Answer] = [*_batch(predictor, bodies[start : start + at_a_time])]
        found += sorted(batch, key=lambda answer: answer.place)
    return found


def _batch(predictor: Predictor, bodies: Sequence[Any]) -> Iterator[Answer]:
    # As a worker does between batches.
    predictor.judge()
    for some in predictor.answer(parts(bodies)):
        yield from some
