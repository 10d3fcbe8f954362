"""The gateway's handle on one worker process."""

import enum
from collections.abc import Callable, Sequence

import structlog

from server.processes.answers import in_place_of, may_pass
from server.processes.model_process import Deadline, ModelProcess
from server.worker import frames
from server.worker.frames import Answer, Kind

log = structlog.get_logger("server.processes.worker_process")


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
        self._told_of_status = False

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
            answers = frames.decode_answers(parts)
            for index, answer in enumerate(answers):
                if not may_pass(answer):
                    answers[index] = self._replace(answer)
            self._on_answers(self, answers)
        elif kind is Kind.DONE:
            if self.state is State.BUSY:
                self._held -= 1
                if self._held == 0:
                    self.state = State.IDLE
                self._on_done(self, not parts[0])
            elif self.state is not State.ENDED:
                raise ValueError("it is done with what it was not asked")
        else:
            super()._handle(kind, parts)

    def _replace(self, answer: Answer) -> Answer:
        if not self._told_of_status:
            self._told_of_status = True
            log.error("answer_refused", version=self.version, pid=self.pid, status=answer.status)
        return in_place_of(answer)

    def _note_loss(self) -> None:
        was_serving = self.state in (State.IDLE, State.BUSY)
        self.state = State.ENDED
        if was_serving:
            self._on_lost(self)
