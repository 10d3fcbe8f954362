"""The gateway's handle on one worker process."""

import enum
from collections.abc import Sequence
from typing import Protocol

import structlog

from server.processes.answers import in_place_of, may_pass
from server.processes.model_process import Deadline, ModelProcess
from server.worker import frames
from server.worker.codecs import FORMATS
from server.worker.frames import Answer, Finding, Kind

_LONGEST_REASON = 1000

log = structlog.get_logger("server.processes.worker_process")


class State(enum.StrEnum):
    """Where a worker is in its life; `FORKING` is one that forks others instead of answering,
    `RETIRING` one that gets no more, and has not answered all."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    RETIRING = "retiring"
    FORKING = "forking"
    ENDED = "ended"


class User(Protocol):
    """Who sends batches to workers. What a worker says may be wrong in any way: the first three
    may raise ValueError or LookupError, which ends it."""

    def take_answers(self, worker: "WorkerProcess", number: int, answers: list[Answer]) -> None:
        """Take what the worker answered of a batch."""

    def take_chunk(self, worker: "WorkerProcess", number: int, chunk: bytes | None) -> None:
        """Take a chunk of a batch's stream, or None where that begins without one."""

    def batch_done(self, worker: "WorkerProcess", number: int, finding: Finding) -> None:
        """Note that it has answered all of a batch, and what it has found of its model."""

    def merging_found(self, reason: str, formats: list[str]) -> None:
        """Note what live requests have shown of merging: why, and the request formats of those that
        share predictions."""

    def worker_lost(self, worker: "WorkerProcess") -> None:
        """Note that the worker is lost; called once, of one that was ready."""


class WorkerProcess(ModelProcess):
    """A process that answers requests, once it is ready: then `send` may be called.

    Args:
        version: The version that it is to serve, for the log.
        user: Who sends it batches.

    Attributes:
        slots: How many batches it answers at a time.
        most: How many requests it may get in one, where it has one slot.
    """

    def __init__(self, version: str, user: "User") -> None:
        super().__init__(version)
        self.state = State.STARTING
        self.slots = 1
        self.most = 1
        self._user = user
        self._sent = 0
        self._held = 0
        self._told_of_status = False

    async def wait_ready(self, deadline: Deadline) -> list[memoryview]:
        said = await super().wait_ready(deadline)
        self.state = State.IDLE
        return said

    def send(self, parts: Sequence[bytes], *, streams: bool = False) -> int:
        """Send a batch: content type, request id and body of each request; return its number. One
        that holds as many as it has slots begins with this one as soon as it has answered one.

        Args:
            streams: Whether it is one request that may be answered in chunks.
        """
        assert self.state in (State.IDLE, State.BUSY)
        self.state = State.BUSY
        self._held += 1
        self._sent += 1
        kind = Kind.STREAM if streams else Kind.PREDICT
        self._send(kind, (frames.encode_number(self._sent), *parts))
        return self._sent

    def credit(self, number: int, size: int) -> None:
        """Note that so many bytes of a batch's stream have been taken."""
        self._tell(Kind.CREDIT, number, frames.encode_number(size))

    def cancel(self, number: int) -> None:
        """Note that nobody waits for a batch any more; it may end sooner."""
        self._tell(Kind.CANCEL, number)

    def retire(self) -> None:
        """Send it no more."""
        self.state = State.RETIRING

    async def stop(self) -> None:
        self.state = State.ENDED
        await super().stop()

    def _handle(self, kind: Kind, parts: list[memoryview]) -> None:
        if kind is Kind.ANSWERS:
            answers = frames.decode_answers(parts[1:])
            for index, answer in enumerate(answers):
                if not may_pass(answer):
                    answers[index] = self._replace(answer)
            self._user.take_answers(self, frames.decode_number(parts[0]), answers)
        elif kind is Kind.CHUNK:
            number, *chunk = parts
            body = bytes(*chunk) if chunk else None
            self._user.take_chunk(self, frames.decode_number(number), body)
        elif kind is Kind.MERGING:
            self._tell_of_merging(*parts)
        elif kind is Kind.DONE:
            if self.state in (State.BUSY, State.RETIRING):
                self._held -= 1
                if self._held == 0 and self.state is State.BUSY:
                    self.state = State.IDLE
                number, said = parts
                finding = Finding(bytes(said)) if said else Finding.MERGES
                self._user.batch_done(self, frames.decode_number(number), finding)
            elif self.state is not State.ENDED:
                raise ValueError("it is done with what it was not asked")
        else:
            super()._handle(kind, parts)

    def _tell_of_merging(self, reason: memoryview, *formats: memoryview) -> None:
        names = [str(name, "ascii") for name in formats]
        if len(reason) > _LONGEST_REASON or not FORMATS.issuperset(names):
            raise ValueError("it merges what there is not")
        if self.state is not State.ENDED:
            self._user.merging_found(str(reason, "utf-8"), names)

    def _tell(self, kind: Kind, number: int, *parts: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._send(kind, (frames.encode_number(number), *parts))

    def _replace(self, answer: Answer) -> Answer:
        if not self._told_of_status:
            self._told_of_status = True
            log.error("answer_refused", version=self.version, pid=self.pid, status=answer.status)
        return in_place_of(answer)

    def _note_loss(self) -> None:
        was_serving = self.state in (State.IDLE, State.BUSY, State.RETIRING)
        self.state = State.ENDED
        if was_serving:
            self._user.worker_lost(self)
