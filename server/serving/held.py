"""What each worker holds, and which workers may be given more."""

from collections import deque

from server.processes.worker_process import State, WorkerProcess
from server.serving.batches import Batch
from server.serving.calls import Call


class Held:
    """The batches of a dispatcher's workers.

    Attributes:
        idle: The workers that have a slot free.
        batches: What each busy worker holds, by number; it predicts as many, the first, as it has
            slots.
        kept: The worker that is not among them, as it is to hold nothing: calls wait that are to be
            alone.
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
        if worker is self.kept:
            return
        if worker.slots == 1 or worker not in self.idle:
            self.idle.append(worker)

    def retire(self, worker: WorkerProcess) -> None:
        """Note that a worker is to be given no more."""
        if worker is self.kept:
            self.kept = None
        elif worker in self.idle:
            self.idle.remove(worker)

    def remove(self, worker: WorkerProcess) -> list[Batch]:
        """Drop a worker, and return what it held."""
        self.retire(worker)
        return [*self.batches.pop(worker, {}).values()]

    def keep_one(self, workers: int) -> None:
        """Keep the worker that holds least, where workers have several slots; others may go on.

        Args:
            workers: How many there should be. Where the others are lost, the one that is left goes
                on.
        """
        known = dict.fromkeys((*self.idle, *self.batches))
        if self.kept is not None:
            known[self.kept] = None
        several = [w for w in known if w.slots > 1 and w.state is not State.RETIRING]
        if len(several) < min(workers, 2):
            self.keep_none()
            return
        least = min(several, key=lambda w: (len(self.of(w)), w is not self.kept))
        if least is not self.kept:
            self.keep_none()
            self.retire(least)
            self.kept = least

    def keep_none(self) -> None:
        """Let the worker that is kept be given others again."""
        worker, self.kept = self.kept, None
        if worker is not None:
            held = self.of(worker).values()
            alone = any(call.alone for batch in held for call in batch.calls.values())
            if len(held) < worker.slots and not alone:
                self.free(worker)

    def take_unused(self, *, others_wait: bool) -> WorkerProcess | None:
        """Take out a worker that holds nothing, for a call that is to be alone: any, but for the
        sake of others only the one that is kept."""
        if self.kept is not None and self.kept not in self.batches:
            return self.kept
        if self.kept is None or not others_wait:
            for worker in self.idle:
                if worker not in self.batches:
                    self.idle.remove(worker)
                    return worker
        return None
