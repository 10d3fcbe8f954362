"""What each worker holds, and which workers may be given more."""

from collections import deque

from server.processes.worker_process import State, WorkerProcess
from server.serving.batches import Batch
from server.serving.calls import Call

_SEVERAL = 2


class Held:
    """The batches of a dispatcher's workers.

    Attributes:
        idle: The workers that have a slot free.
        batches: What each busy worker holds, by number; it predicts as many, the first, as it has
            slots.
        kept: The worker, of several, that is kept for calls that are to be alone, while any wait.
    """

    def __init__(self) -> None:
        self.idle: deque[WorkerProcess] = deque()
        self.batches: dict[WorkerProcess, dict[int, Batch]] = {}
        self.kept: WorkerProcess | None = None

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

    def keep_one(self) -> None:
        """Keep the worker that holds least, if there are others."""
        workers = dict.fromkeys((*self.idle, *self.batches))
        serving = [worker for worker in workers if worker.state is not State.RETIRING]
        if len(serving) < _SEVERAL:
            self.kept = None
        else:
            # It gets no more, so that it will hold nothing in the end.
            self.kept = min(serving, key=lambda w: (len(self.of(w)), w is not self.kept))

    def next_unused(self, *, only_kept: bool) -> WorkerProcess | None:
        """Take out an idle worker that holds nothing; where one is kept, perhaps that only."""
        for worker in self.idle:
            if worker not in self.batches and (not only_kept or self.kept in (None, worker)):
                self.idle.remove(worker)
                return worker
        return None

    def next_shared(self) -> WorkerProcess | None:
        """Take out an idle worker that is not kept."""
        for worker in self.idle:
            if worker is not self.kept:
                self.idle.remove(worker)
                return worker
        return None
