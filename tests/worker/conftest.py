"""Fixtures that start worker processes of models, without a gateway."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.processes import Processes
from tests.worker.protocol.workers import Worker

StartWorker: TypeAlias = Callable[[Path], Worker]


@pytest.fixture(scope="module")
def start_worker(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartWorker]:
    """Starts a worker process that serves the model saved at a path."""
    workers: list[Worker] = []

    def start(path: Path) -> Worker:
        workers.append(Worker(processes, path, tmp_path_factory.mktemp("worker")))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()
