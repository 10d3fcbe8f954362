"""The gateway's handle on one worker process."""

import enum
from collections.abc import Callable, Sequence

from server.processes.model_process import Deadline, ModelProcess
from server.worker import frames
from server.worker.frames import Answer, Kind


class State(enum.StrEnum):
    """Where a worker is in its life; `FORKING` is one that forks others instead of answering."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    FORKING = "forking"
    ENDED = "ended"


class WorkerProcess(ModelProcess):
    """A process that answers requests, once it is ready: then `send` may be called.

    Args:
        version: The version that it is to serve, for the log.
        on_answers: Called with what the worker answered of the batch that it holds.
        on_done: Called when it has answered all of a batch. The argument says whether it may get
            merged batches from now on.
        on_lost: Called once when the worker is lost after it was ready.
    """

    def __init__(
        self,
        version: str,
        on_answers: Callable[["WorkerProcess", list[Answer]], None],
        on_done: Callable[["WorkerProcess", bool], None],
        on_lost: Callable[["WorkerProcess"], None],
    ) -> None:
        super().__init__(version)
        self.state = State.STARTING
        self._on_answers = on_answers
        self._on_done = on_done
        self._on_lost = on_lost
        self._held = 0

    async def wait_ready(self, deadline: Deadline) -> list[memoryview]:
        said = await super().wait_ready(deadline)
        self.state = State.IDLE
        return said

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a batch: content type, request id and body of each request. One that holds a batch
        already begins with this one as soon as it has answered that."""
        assert self.state in (State.IDLE, State.BUSY)
        self.state = State.BUSY
        self._held += 1
        self._send(Kind.PREDICT, parts)

    async def stop(self) -> None:
        self.state = State.ENDED
        await super().stop()

    def _handle(self, kind: Kind, parts: list[memoryview]) -> None:
        if kind is Kind.ANSWERS:
            self._on_answers(self, frames.decode_answers(parts))
        elif kind is Kind.DONE:
            if self.state is State.BUSY:
                self._held -= 1
                if self._held == 0:
                    self.state = State.IDLE
                self._on_done(self, not parts[0])
        else:
            super()._handle(kind, parts)

    def _note_loss(self) -> None:
        was_serving = self.state in (State.IDLE, State.BUSY)
        self.state = State.ENDED
        if was_serving:
            self._on_lost(self)
