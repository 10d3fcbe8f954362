"""Answering batches in a worker: one after the other, or several at a time.

A model that computes gets one batch after the other, in the thread that reads them. One that waits
gets a thread for each, and one that streams must hear meanwhile that its client has gone, or has
taken something: there another thread reads.
"""

import contextlib
import contextvars
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

from .cancellation import CURRENT, Cancellation
from .channel import Channel
from .frames import (
    CHUNK_OVERHEAD,
    SLOTS_OF_WAITING,
    STREAM_WINDOW,
    Answer,
    Finding,
    Kind,
    Outcome,
    decode_number,
)
from .merging.batching import Predictor
from .merging.proof import LIVE, NO_MORE

# A status of MLflow's (CANCELLED in mlflow/exceptions.py), which nobody gets to see.
_CLIENT_GONE = 499


class Serving:
    """Answers what the gateway sends.

    Args:
        gateway: The channel.
        predictor: Answers batches.
        slots: How many batches come at a time.
        streams: Whether the model can stream.
        prepare: Called in each thread that predicts besides the one that calls `run`.
    """

    def __init__(
        self,
        gateway: Channel,
        predictor: Predictor,
        *,
        slots: int,
        streams: bool,
        prepare: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._predictor = predictor
        self._slots = slots
        self._streams = streams
        self._prepare = prepare
        # What waits for a thread, and what is there in all.
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._open: dict[int, _Job] = {}
        self._threads = 1
        self._told = predictor.formats

    def run(self) -> None:
        """Serve until the gateway closes its end.

        Raises:
            OSError: it has done so in the midst of an answer.
        """
        if self._slots == 1 and not self._streams:
            self._answer_in_turn()
        if self._slots > 1 or self._streams:
            threading.Thread(target=self._read, name="reading", daemon=True).start()
            self._answer_waiting()

    def _answer_in_turn(self) -> None:
        """Answer one batch after the other, until the gateway closes its end, or several are to
        come at a time."""
        while self._slots == 1 and (frame := self._gateway.receive()) is not None:
            kind, (number, *parts) = frame
            # What any other would stop is done by now.
            if kind in (Kind.PREDICT, Kind.STREAM):
                self._answer(bytes(number), parts)

    def _read(self) -> None:
        with _ending_with_error():
            while (frame := self._gateway.receive()) is not None:
                kind, (number, *parts) = frame
                self._take(kind, bytes(number), parts)
        for job in list(self._open.values()):
            job.cancel()
        for _ in range(self._threads):
            self._waiting.put(None)

    def _take(self, kind: Kind, number: bytes, parts: list[memoryview]) -> None:
        key = decode_number(number)
        if kind in (Kind.PREDICT, Kind.STREAM):
            job = _Job(self._gateway, number, parts, streams=kind is Kind.STREAM)
            self._open[key] = job
            self._waiting.put(job)
            if self._threads < min(self._slots, len(self._open)):
                # Where there can be no more threads, those that are there do it all.
                with contextlib.suppress(RuntimeError):
                    name = f"serving {self._threads}"
                    threading.Thread(target=self._work, name=name, daemon=True).start()
                    self._threads += 1
        elif (known := self._open.get(key)) is not None:
            if kind is Kind.CANCEL:
                known.cancel()
            elif kind is Kind.CREDIT:
                known.credit(decode_number(parts[0]))

    def _work(self) -> None:
        """Be one of the threads besides the first one."""
        with _ending_with_error():
            self._prepare()
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        while (job := self._waiting.get()) is not None:
            if job.cancelled:
                self._skip(job)
            else:
                self._answer(job.number, job.parts, job)

    def _skip(self, job: "_Job") -> None:
        """Be done with a batch, of one request, that nobody waits for any more."""
        nobodys = Answer(0, _CLIENT_GONE, Outcome.INTERNAL_ERROR, b"")
        self._gateway.send_answers(job.number, [nobodys])
        self._finish(job.number, job)

    def _answer(
        self, number: bytes, parts: Sequence[memoryview], job: "_Job | None" = None
    ) -> None:
        # What a model leaves in its context, another request is not to find.
        contextvars.copy_context().run(self._answer_in_context, number, parts, job)
        self._finish(number, job)

    def _finish(self, number: bytes, job: "_Job | None") -> None:
        if job is not None:
            del self._open[decode_number(number)]
        finding = self._conclude()
        self._tell_of_merging()
        self._gateway.send(Kind.DONE, number, finding)

    def _answer_in_context(
        self, number: bytes, parts: Sequence[memoryview], job: "_Job | None"
    ) -> None:
        CURRENT.set(job)
        outlet = job if job is not None and job.streams else None
        for answers in self._predictor.answer(parts, outlet):
            self._gateway.send_answers(number, answers)

    def _conclude(self) -> Finding:
        """What has been found of the model by now; several batches may come from now on."""
        if self._slots == 1 and self._predictor.judge():
            self._slots = SLOTS_OF_WAITING
            return Finding.WAITS
        if self._predictor.merges:
            return Finding.MERGES
        return Finding.TRIES if self._predictor.tries else Finding.ALONE

    def _tell_of_merging(self) -> None:
        """Say what live requests have shown, where that is not what the rehearsal did."""
        # Of one that waits, the gateway hears otherwise.
        if (formats := self._predictor.formats) is not self._told and self._slots == 1:
            self._told = formats
            reason = LIVE if formats else NO_MORE
            self._gateway.send(Kind.MERGING, reason.encode(), *map(str.encode, sorted(formats)))


@contextlib.contextmanager
def _ending_with_error() -> Iterator[None]:
    """End the process where a thread would end: what it has to do would never be done."""
    try:
        yield
    except OSError:
        # The gateway was killed: there is nobody to do it for.
        pass
    except BaseException:
        traceback.print_exc()
        os._exit(1)


class _Job(Cancellation):
    """A batch that is to be answered, and the outlet of its stream, if it may get one.

    Attributes:
        number: As a part of a frame.
        parts: Those of its requests.
        streams: Whether it may get one.
    """

    def __init__(
        self, gateway: Channel, number: bytes, parts: Sequence[memoryview], *, streams: bool
    ) -> None:
        super().__init__()
        self.number = number
        self.parts = parts
        self.streams = streams
        self._gateway = gateway
        self._begun = False
        self._untaken = 0
        self._taken = threading.Condition()

    def begin(self) -> None:
        """Say that the stream has begun, unless a chunk has said so."""
        if not self._begun:
            self._begun = True
            self._gateway.send(Kind.CHUNK, self.number)

    def send(self, chunk: bytes) -> bool:
        """Send a chunk, once the client has taken enough of those before it; False if nobody
        wants any more."""
        with self._taken:
            self._taken.wait_for(lambda: self._untaken < STREAM_WINDOW or self.cancelled)
            self._untaken += len(chunk) + CHUNK_OVERHEAD
        if not self.cancelled:
            self._begun = True
            self._gateway.send(Kind.CHUNK, self.number, chunk)
        return not self.cancelled

    def credit(self, size: int) -> None:
        """Note that the client has taken so much."""
        with self._taken:
            self._untaken -= size
            self._taken.notify()

    def cancel(self) -> None:
        super().cancel()
        with self._taken:
            self._taken.notify()
