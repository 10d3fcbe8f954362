"""What each worker holds, and which workers may be given more."""

from collections import deque

from server.processes.worker_process import WorkerProcess
from server.serving.batches import Batch
from server.serving.calls import Call


class Held:
    """The batches of a dispatcher's workers.

    Attributes:
        idle: The workers that have a slot free.
        batches: What each busy worker holds, by number; it predicts as many, the first, as it has
            slots.
    """

    def __init__(self) -> None:
        self.idle: deque[WorkerProcess] = deque()
        self.batches: dict[WorkerProcess, dict[int, Batch]] = {}

    @property
    def calls(self) -> list[Call]:
        """What the workers have not answered yet."""
        batches = (batch for held in self.batches.values() for batch in held.values())
        return [call for batch in batches for call in batch.calls.values()]

    @property
    def free_slots(self) -> int:
        """How many batches may be begun with."""
        return sum(worker.slots - len(self.batches.get(worker, ())) for worker in self.idle)

    def of(self, worker: WorkerProcess) -> dict[int, Batch]:
        """What a worker holds."""
        return self.batches.get(worker, {})

    def begun(self, worker: WorkerProcess, number: int) -> Batch:
        """A batch that a worker has begun with.

        Raises:
            ValueError, LookupError: there is none of that number.
        """
        batch = self.batches[worker][number]
        if not batch.has_begun:
            raise ValueError("an answer to what it is not to have begun with")
        return batch

    def put(self, worker: WorkerProcess, number: int, batch: Batch) -> None:
        """Note that a worker has been given a batch, and is idle no more, unless it may be given
        another one beside it."""
        batches = self.batches.setdefault(worker, {})
        batches[number] = batch
        shares = worker.slots > 1 and not any(call.alone for call in batch.calls.values())
        if shares and len(batches) < worker.slots:
            self.idle.append(worker)

    def take(self, worker: WorkerProcess, number: int) -> None:
        """Note that a worker is done with a batch."""
        batches = self.batches[worker]
        del batches[number]
        if not batches:
            del self.batches[worker]

    def free(self, worker: WorkerProcess) -> None:
        """Note that a worker may be given another batch."""
        if worker.slots == 1 or worker not in self.idle:
            self.idle.append(worker)

    def retire(self, worker: WorkerProcess) -> None:
        """Note that a worker is to be given no more."""
        if worker in self.idle:
            self.idle.remove(worker)

    def remove(self, worker: WorkerProcess) -> list[Batch]:
        """Drop a worker, and return what it held."""
        self.retire(worker)
        return [*self.batches.pop(worker, {}).values()]

    def bring_forward_unused(self) -> bool:
        """Have the worker that is next be one that holds nothing; return whether there is one."""
        for worker in self.idle:
            if worker not in self.batches:
                self.idle.remove(worker)
                self.idle.appendleft(worker)
                return True
        return False
