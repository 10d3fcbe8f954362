"""The requests that may have killed or hung a worker: each is asked again in a spare one, where
nobody else suffers from it."""

import asyncio
import contextvars
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any

from server.errors import (
    KnownRequest,
    LoadFailed,
    PredictionTimeout,
    ServingError,
    TimedOutBefore,
    WorkerDied,
    WorkerDiedBefore,
)
from server.serving.calls import Call, answer, refuse
from server.serving.digests import Digester
from server.serving.keeper import Keeper, StartSpare
from server.serving.killers import Killers
from server.serving.queue import Queue
from server.serving.spare import Failure, Spare
from server.serving.suspects import Suspect, Suspects
from server.serving.traffic import AnswerCount
from server.settings import Settings
from server.worker.frames import Answer
from watcher.versions import ModelVersion

_MOST_SPARES = 2
# The part of its time that a request gets first while others wait: most are soon answered, and need
# not wait for the one that hangs.
_BRIEF = 0.1


class Retrials:
    """Asks suspects again in at most two spare workers, which are there only while any waits.

    Args:
        model: The version that the workers serve; its label stands in every answer.
        settings: Limits.
        queue: The calls that wait for the serving workers: they ask suspects again, each alone,
            where there is no spare to be had.
        answers: Where answers are counted.
        on_change: Called when `unanswered` or the queue may have changed.
        keeper: Told of each request that killed or hung a worker by itself, and of lost spares.
    """

    def __init__(
        self,
        model: ModelVersion,
        settings: Settings,
        queue: Queue,
        answers: AnswerCount,
        on_change: Callable[[], None],
        keeper: Keeper,
    ) -> None:
        self._version = model.display
        self._label = model.label
        self._seconds = settings.request_timeout_seconds
        self._queue = queue
        self._answers = answers
        self._on_change = on_change
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._start_spare: StartSpare | None = None
        self._successor: Retrials | None = None
        self._closed: ServingError | None = None
        self._killers = Killers(model.display)
        self._digester = Digester()
        self._suspects = Suspects(settings, on_change)
        self._slots: set[asyncio.Task[None]] = set()
        # How many of those have a spare that is not still being started.
        self._up = 0
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def known_lengths(self) -> Collection[int]:
        """The lengths of the bodies worth screening, now and later."""
        return self._killers.lengths

    @property
    def waiting(self) -> int:
        """How many calls no worker has taken yet."""
        return len(self._digester.calls) + self._suspects.waiting

    @property
    def unanswered(self) -> int:
        """How many calls wait or are being asked, other than those whose clients have gone."""
        calls = (*self._digester.calls, *self._suspects.calls)
        return sum(call.awaited for call in calls)

    @property
    def streaming(self) -> int:
        """How many of those have got a part of their answer."""
        begun = [call.stream for call in self._suspects.calls if call.stream is not None]
        return sum(stream.awaited for stream in begun)

    def offer(self, start_spare: StartSpare) -> None:
        """Take suspects from now on."""
        self._start_spare = start_spare

    def add(self, calls: list[Call]) -> None:
        """Ask calls again whose worker was lost, also those whose clients have gone: who posts a
        killer and hangs up must not be able to go on with that. What was alone before is the one at
        fault."""
        suspects = []
        for call in calls:
            if call.alone:
                refuse(call, WorkerDied("the model's process died"))
            else:
                suspects.append(call)
        if self._offered:
            for call in suspects:
                self._digester.digest(call, partial(self._suspect, call))
        else:
            self._ask_in_serving(suspects)
        self._on_change()

    def note_broken(self, calls: list[Call], *, alone: bool) -> None:
        """End streams whose worker was lost. They can't be asked again: any may be at fault, and
        the next one like it is asked in a spare.

        Args:
            alone: Whether it held nothing else.
        """

        def note(call: Call, digest: bytes) -> None:
            self._killers.remember(digest, len(call.body), WorkerDiedBefore, proved=False)
            if alone:
                self._keeper.note_culprit(digest)

        for call in calls:
            refuse(call, WorkerDied("the model's process died"))
            if self._offered:
                self._digester.digest(call, partial(note, call))

    def screen(self, call: Call, submit: Callable[[Call], None]) -> None:
        """Refuse a call that is known, or ask it again if it is due, or `submit` it."""

        def decide(digest: bytes) -> None:
            if digest not in self._killers:
                submit(call)
            elif error := self._killers.refusal(digest):
                refuse(call, error)
                self._on_change()
            else:
                self._enqueue(Suspect(call, digest, known=True))

        self._digester.digest(call, decide)

    def note_hung(self, call: Call, computing: bool) -> None:
        """Note that a call used its whole time, by itself in a serving worker. What that had been
        asked before may have been the reason: the next one like it is asked in a spare.

        Args:
            computing: Whether that computed all the while.
        """

        def note(digest: bytes) -> None:
            self._convict(call, digest, TimedOutBefore if computing else None, proved=False)

        if self._offered:
            self._digester.digest(call, note)

    def hand_over(self, other: "Retrials") -> None:
        """Have another release ask again what waits here, and what is added later: there will be
        no more spares here. Where that has none either, this one's serving workers do it."""
        self._start_spare = None
        if other._offered:
            self._successor = other
        for suspect in self._suspects.take_all():
            if not suspect.call.answer.done():
                self._enqueue(suspect)

    def close(self, error: ServingError) -> None:
        """Refuse whatever is unanswered, and whatever comes."""
        self._closed = error
        for call in (*self._digester.calls, *self._suspects.calls):
            refuse(call, error)
        self._digester.cancel()
        self._suspects.take_all()

    async def stop(self) -> None:
        """End the spares, after `close`."""
        for task in self._slots:
            task.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)

    @property
    def _offered(self) -> bool:
        """Whether suspects can be asked again in spares."""
        return self._start_spare is not None or self._successor is not None

    def _suspect(self, call: Call, digest: bytes) -> None:
        self._enqueue(Suspect(call, digest))

    def _enqueue(self, suspect: Suspect) -> None:
        """Let a suspect wait for a spare, or for those of the release that serves by now."""
        last = self._last()
        if last is not self and last._closed is None:
            last._enqueue(suspect)
        elif self._closed is not None:
            refuse(suspect.call, self._closed)
        elif self._start_spare is None:
            self._do_without_spare([suspect])
        else:
            self._let_wait(suspect)
        self._on_change()

    def _last(self) -> "Retrials":
        """Those of the release that serves by now, or served last; others may have been stopped
        that took this one's place."""
        last = self
        while last._successor is not None:
            last = last._successor
        return last

    def _let_wait(self, suspect: Suspect) -> None:
        if not suspect.known and suspect.digest in self._killers:
            if error := self._killers.refusal(suspect.digest):
                refuse(suspect.call, error)
                return
            suspect.known = suspect.needs_fresh = True
        if self._suspects.put(suspect):
            self._fill_slots()

    def _do_without_spare(self, suspects: list[Suspect]) -> None:
        for suspect in suspects:
            if error := self._killers.refusal(suspect.digest):
                refuse(suspect.call, error)
            elif suspect.died:
                refuse(suspect.call, WorkerDied("the model's process died"))
        self._ask_in_serving([s.call for s in suspects if not s.call.answer.done()])

    def _ask_in_serving(self, calls: list[Call]) -> None:
        """Have calls wait for the serving workers, each to be predicted alone."""
        now = self._loop.time()
        for place in reversed(range(len(calls))):
            call = calls[place]
            call.alone = True
            # Any of those before it may take all its time, and be the one at fault.
            call.due = now + (place + 1) * self._seconds
            self._queue.alone.appendleft(call)

    def _fill_slots(self) -> None:
        """Start a spare, if there are not yet as many as there are different requests, or as may
        be. One at a time: the worker in place of the lost one comes from the same template."""
        starting = len(self._slots) > self._up
        if not starting and len(self._slots) < min(_MOST_SPARES, self._suspects.different):
            self._spawn(self._fill_slot(), self._slots)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        # A context of its own: what happens to a spare belongs to no request.
        task = self._loop.create_task(coroutine, context=contextvars.Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _fill_slot(self) -> None:
        """Ask what waits in one spare after another."""
        try:
            while self._suspects.any_open:
                await self._use_spare()
        except LoadFailed:
            # Where one can't be had now, each of them would wait for the same.
            self._do_without_spare(self._suspects.take_all())
            self._on_change()
        finally:
            # At once, rather than when the loop comes to it: who comes now needs another.
            task = asyncio.current_task()
            assert task is not None
            self._slots.discard(task)

    async def _use_spare(self) -> None:
        assert self._start_spare is not None
        spare = Spare(self._version, self._label, self._keeper.spare_lost)
        await spare.start(self._start_spare)
        self._up += 1
        self._fill_slots()
        try:
            while spare.alive and (suspect := self._suspects.take(fresh=spare.fresh)):
                await self._try(spare, suspect)
        finally:
            self._up -= 1
            self._spawn(spare.stop(), self._endings)

    async def _try(self, spare: Spare, suspect: Suspect) -> None:
        call = suspect.call
        fresh = spare.fresh
        with self._suspects.trying(suspect):
            # Others: those like it wait for what becomes of this one.
            brief = not suspect.slow and self._suspects.any_open
            first = self._seconds * (_BRIEF if brief else 1.0)
            given = await spare.ask(call, first, self._seconds)
        # Of one that has got a part of its answer, there is no asking again.
        brief = brief and call.stream is None
        if isinstance(given, Answer):
            self._answers.total += 1
            self._killers.forget(suspect.digest)
            for like in self._suspects.alike(suspect.digest):
                like.known = like.needs_fresh = False
            answer(call, given, self._label)
        elif given is Failure.HUNG and brief:
            suspect.slow = suspect.needs_fresh = True
            self._enqueue(suspect)
        elif given is Failure.HUNG:
            error = TimedOutBefore if spare.computing else None
            self._convict(call, suspect.digest, error, proved=fresh)
            refuse(call, PredictionTimeout("the model took too long over this request"))
        elif fresh or call.stream is not None:
            self._convict(call, suspect.digest, WorkerDiedBefore, proved=fresh)
            refuse(call, WorkerDied("the model's process died"))
        else:
            # What was asked before may have been the reason.
            suspect.needs_fresh = suspect.died = True
            self._enqueue(suspect)
        self._on_change()

    def _convict(
        self, call: Call, digest: bytes, error: type[KnownRequest] | None, *, proved: bool
    ) -> None:
        """Note that a call is at fault, or may be.

        Args:
            error: What to refuse its like with from now on; None where it is not to be known again.
            proved: Whether it was alone in a worker that had not been asked before.
        """
        if error is not None:
            self._killers.remember(digest, len(call.body), error, proved=proved)
            alike = self._suspects.alike(digest)
            for suspect in alike:
                self._suspects.take_out(suspect)
            alike += [Suspect(queued, digest) for queued in self._queue.take_like(call)]
            for suspect in alike:
                suspect.known = False
                self._enqueue(suspect)
        self._keeper.note_culprit(digest)
