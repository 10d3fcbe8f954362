"""The requests that may have killed or hung a worker: each is asked again in a spare one, where
nobody else suffers from it."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from server.errors import (
    KnownRequest,
    LoadFailed,
    PredictionTimeout,
    QueueFull,
    ServingError,
    TimedOutBefore,
    WorkerDied,
    WorkerDiedBefore,
)
from server.serving.calls import Call, refuse
from server.serving.digests import Digester
from server.serving.killers import Killers
from server.serving.spare import Failure, Spare, StartSpare
from server.serving.traffic import AnswerCount
from server.settings import Settings
from server.worker.frames import Answer

MOST_SPARES = 2
# The part of its time that a request gets first while others wait: most are soon answered, and need
# not wait for the one that hangs.
_BRIEF = 0.1


class _Suspect:
    """A request to be asked again.

    Attributes:
        digest: What it is known by.
        known: Whether it is remembered, and is given its trial of this minute.
        needs_fresh: Whether only a worker that has not been asked before is to have it: one has
            died of it, or of what that had been asked before.
        slow: Whether it goes behind the others, as it has used up the part of its time that it gets
            while they wait.
    """

    __slots__ = ("call", "digest", "known", "needs_fresh", "slow", "timer")

    def __init__(self, call: Call, digest: bytes, *, known: bool = False) -> None:
        self.call = call
        self.digest = digest
        self.known = known
        self.needs_fresh = known
        self.slow = False
        self.timer: asyncio.TimerHandle | None = None


class Retrials:
    """Asks suspects again in at most two spare workers, which are there only while any waits.

    Args:
        version: The version, for the log.
        label: As it stands in answers.
        settings: Limits.
        killers: Where those at fault are remembered.
        answers: Where answers are counted.
        on_change: Called when `unanswered` may have changed.
        on_culprit: Called with each request that killed or hung a worker by itself, and its digest.
        ask_in_serving: Has the serving workers ask calls again, each alone, where there is no spare
            to be had.
    """

    def __init__(
        self,
        version: str,
        label: str,
        settings: Settings,
        killers: Killers,
        answers: AnswerCount,
        on_change: Callable[[], None],
        on_culprit: Callable[[Call, bytes], None],
        ask_in_serving: Callable[[list[Call]], None],
    ) -> None:
        self._version = version
        self._label = label
        self._seconds = settings.request_timeout_seconds
        self._most = settings.max_queue
        self._killers = killers
        self._answers = answers
        self._on_change = on_change
        self._on_culprit = on_culprit
        self._ask_in_serving = ask_in_serving
        self._loop = asyncio.get_running_loop()
        self._start_spare: StartSpare | None = None
        self._successor: Retrials | None = None
        self._closed: ServingError | None = None
        self._digester = Digester()
        self._waiting: list[_Suspect] = []
        self._trying: list[_Suspect] = []
        self._slots: set[asyncio.Task[None]] = set()
        # How many of those have a spare that is not still being started.
        self._up = 0
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def offered(self) -> bool:
        """Whether suspects can be asked again here."""
        return self._start_spare is not None or self._successor is not None

    @property
    def waiting(self) -> int:
        """How many calls no worker has taken yet."""
        return len(self._digester.calls) + len(self._waiting)

    @property
    def unanswered(self) -> int:
        """How many calls wait or are being asked, other than those whose clients have gone."""
        suspects = [suspect.call for suspect in (*self._waiting, *self._trying)]
        return sum(not call.answer.done() for call in (*self._digester.calls, *suspects))

    def offer(self, start_spare: StartSpare) -> None:
        """Take suspects from now on."""
        self._start_spare = start_spare

    def add(self, calls: list[Call]) -> None:
        """Ask calls again whose worker was lost, also those whose clients have gone: who posts a
        killer and hangs up must not be able to go on with that."""
        for call in calls:
            self._digester.digest(call, partial(self._suspect, call))

    def screen(self, call: Call, submit: Callable[[Call], None]) -> None:
        """Refuse a call that is known, or ask it again if it is due, or `submit` it."""

        def decide(digest: bytes) -> None:
            if digest not in self._killers:
                submit(call)
            elif error := self._killers.refusal(digest):
                refuse(call, error)
                self._on_change()
            else:
                self._enqueue(_Suspect(call, digest, known=True))

        self._digester.digest(call, decide)

    def note_hung(self, call: Call, *, computing: bool) -> None:
        """Note that a call used its whole time, by itself in a serving worker."""
        error = TimedOutBefore if computing else None
        self._digester.digest(call, lambda digest: self._convict(call, digest, error))

    def hand_over(self, other: "Retrials") -> None:
        """Have another release ask again what waits here, and what is added later: there will be
        no more spares here. Where that has none either, this one's serving workers do it."""
        self._start_spare = None
        if other.offered:
            self._successor = other
        for suspect in self._take_all():
            if not suspect.call.answer.done():
                self._enqueue(suspect)

    def close(self, error: ServingError) -> None:
        """Refuse whatever is unanswered, and whatever comes."""
        self._closed = error
        suspects = [suspect.call for suspect in (*self._take_all(), *self._trying)]
        for call in (*self._digester.calls, *suspects):
            refuse(call, error)
        self._digester.cancel()

    async def stop(self) -> None:
        """End the spares, after `close`."""
        for task in self._slots:
            task.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)

    def _suspect(self, call: Call, digest: bytes) -> None:
        self._enqueue(_Suspect(call, digest))

    def _enqueue(self, suspect: _Suspect) -> None:
        """Let a suspect wait for a spare, or for those of the release that serves by now."""
        call = suspect.call
        if self._closed is not None:
            refuse(call, self._closed)
        elif self._successor is not None:
            self._successor._enqueue(suspect)
        elif self._start_spare is None:
            self._do_without_spare([suspect])
        elif not suspect.known and (error := self._killers.refusal(suspect.digest)):
            refuse(call, error)
        elif not call.answer.done() or len(self._waiting) < self._most:
            # Any of those before it may take all its time.
            call.due = self._loop.time() + (len(self._waiting) + 1) * self._seconds
            suspect.timer = self._loop.call_at(call.due, self._too_late, suspect)
            self._waiting.append(suspect)
            self._fill_slots()
        self._on_change()

    def _do_without_spare(self, suspects: list[_Suspect]) -> None:
        for suspect in suspects:
            if suspect.needs_fresh:
                known = self._killers.refusal(suspect.digest)
                refuse(suspect.call, known or WorkerDied("the model's process died"))
        self._ask_in_serving([s.call for s in suspects if not s.call.answer.done()])

    def _too_late(self, suspect: _Suspect) -> None:
        self._take_out(suspect)
        refuse(suspect.call, QueueFull("no worker was free in time"))
        self._on_change()

    def _fill_slots(self) -> None:
        """Start a spare, if there are not yet as many as there are different requests, or as may
        be. One at a time: the worker in place of the lost one comes from the same template."""
        different = len({suspect.digest for suspect in self._open()}) + len(self._trying)
        starting = len(self._slots) > self._up
        if not starting and len(self._slots) < min(MOST_SPARES, different):
            self._spawn(self._fill_slot(), self._slots)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        # A context of its own: what happens to a spare belongs to no request.
        task = self._loop.create_task(coroutine, context=contextvars.Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _fill_slot(self) -> None:
        """Ask what waits in one spare after another."""
        try:
            while self._open():
                await self._use_spare()
        except LoadFailed:
            # Where one can't be had now, each of them would wait for the same.
            self._do_without_spare(self._take_all())
            self._on_change()
        finally:
            # At once, rather than when the loop comes to it: who comes now needs another.
            task = asyncio.current_task()
            assert task is not None
            self._slots.discard(task)

    async def _use_spare(self) -> None:
        assert self._start_spare is not None
        spare = Spare(self._version)
        await spare.start(self._start_spare)
        self._up += 1
        self._fill_slots()
        try:
            while spare.alive and (suspect := self._take(fresh=spare.fresh)) is not None:
                await self._try(spare, suspect)
        finally:
            self._up -= 1
            self._spawn(spare.stop(), self._endings)

    def _open(self) -> list[_Suspect]:
        """Those who may be asked now: not what is being asked at this moment by someone else."""
        tried = {suspect.digest for suspect in self._trying}
        return [suspect for suspect in self._waiting if suspect.digest not in tried]

    def _take(self, *, fresh: bool) -> _Suspect | None:
        """Take out whom to ask next in a spare.

        Args:
            fresh: Whether it has not been asked anything yet.
        """
        candidates = [suspect for suspect in self._open() if fresh or not suspect.needs_fresh]
        if not candidates:
            return None
        # What is waited for, what is soon done, and what only a fresh one can settle.
        suspect = min(candidates, key=lambda s: (s.call.answer.done(), s.slow, not s.needs_fresh))
        self._take_out(suspect)
        return suspect

    def _take_out(self, suspect: _Suspect) -> None:
        self._waiting.remove(suspect)
        assert suspect.timer is not None
        suspect.timer.cancel()

    def _take_all(self) -> list[_Suspect]:
        suspects = list(self._waiting)
        for suspect in suspects:
            self._take_out(suspect)
        return suspects

    async def _try(self, spare: Spare, suspect: _Suspect) -> None:
        call = suspect.call
        fresh = spare.fresh
        brief = not suspect.slow and bool(self._open())
        self._trying.append(suspect)
        try:
            answer = await spare.ask(call, self._seconds * (_BRIEF if brief else 1.0))
        finally:
            self._trying.remove(suspect)
        if isinstance(answer, Answer):
            self._answers.total += 1
            self._killers.forget(suspect.digest)
            if not call.answer.done():
                call.answer.set_result((answer, self._label))
        elif answer is Failure.HUNG and brief:
            suspect.slow = True
            self._enqueue(suspect)
        elif answer is Failure.HUNG:
            self._convict(call, suspect.digest, TimedOutBefore if spare.computing else None)
            refuse(call, PredictionTimeout("the model took too long over this request"))
        elif fresh:
            self._convict(call, suspect.digest, WorkerDiedBefore)
            refuse(call, WorkerDied("the model's process died"))
        else:
            # What was asked before may have been the reason.
            suspect.needs_fresh = True
            self._enqueue(suspect)
        self._on_change()

    def _convict(self, call: Call, digest: bytes, error: type[KnownRequest] | None) -> None:
        """Note that a call is at fault, and refuse its like with `error` from now on."""
        if error is not None:
            self._killers.remember(digest, len(call.body), error)
            for like in [suspect for suspect in self._waiting if suspect.digest == digest]:
                self._take_out(like)
                self._enqueue(like)
        self._on_culprit(call, digest)
