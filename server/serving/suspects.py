"""The requests that may have killed or hung a worker, until each has been asked again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.errors import QueueFull
from server.serving.calls import Call, refuse
from server.settings import Settings


class Suspect:
    """A request to be asked again.

    Attributes:
        digest: What it is known by.
        known: Whether it is remembered, and is given a trial.
        needs_fresh: Whether only a worker that has not been asked before is to have it: what that
            had been asked may have been at fault.
        died: Whether a worker has died over it, other than the one that made it suspect.
        slow: Whether it goes behind the others, as it has used up the part of its time that it gets
            while they wait.
        timer: Refuses it, where it waits, once it has waited too long.
    """

    __slots__ = ("call", "died", "digest", "known", "needs_fresh", "slow", "timer")

    def __init__(self, call: Call, digest: bytes, *, known: bool = False) -> None:
        self.call = call
        self.digest = digest
        self.known = known
        self.needs_fresh = known
        self.died = False
        self.slow = False
        self.timer: asyncio.TimerHandle | None = None


class Suspects:
    """Those that wait, and those that are being asked at this moment.

    Args:
        settings: Limits.
        on_late: Called when one has waited too long and was refused.
    """

    def __init__(self, settings: Settings, on_late: Callable[[], None]) -> None:
        self._seconds = settings.request_timeout_seconds
        self._most = settings.max_queue
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Suspect] = []
        self._trying: list[Suspect] = []

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def calls(self) -> list[Call]:
        """The calls of all."""
        return [suspect.call for suspect in (*self._waiting, *self._trying)]

    @property
    def different(self) -> int:
        """How many are being asked or could be, each in a worker of its own."""
        return len({suspect.digest for suspect in self._open()}) + len(self._trying)

    @property
    def any_open(self) -> bool:
        """Whether any may be asked now."""
        return bool(self._open())

    def put(self, suspect: Suspect) -> bool:
        """Let one wait, and return whether it does: where many wait, those whose clients have gone
        are dropped."""
        call = suspect.call
        if call.answer.done() and len(self._waiting) >= self._most:
            return False
        # Any of those before it may take all its time.
        call.due = self._loop.time() + (len(self._waiting) + 1) * self._seconds
        suspect.timer = self._loop.call_at(call.due, self._too_late, suspect)
        self._waiting.append(suspect)
        return True

    def take(self, *, fresh: bool) -> Suspect | None:
        """Take out whom to ask next in a spare.

        Args:
            fresh: Whether it has not been asked anything yet.
        """
        candidates = [suspect for suspect in self._open() if fresh or not suspect.needs_fresh]
        if not candidates:
            return None
        # What is waited for, what is soon done, and what only a fresh one can settle.
        suspect = min(candidates, key=lambda s: (s.call.answer.done(), s.slow, not s.needs_fresh))
        self.take_out(suspect)
        return suspect

    def take_out(self, suspect: Suspect) -> None:
        """Let one wait no more."""
        self._waiting.remove(suspect)
        assert suspect.timer is not None
        suspect.timer.cancel()

    def take_all(self) -> list[Suspect]:
        """Take out all that wait."""
        suspects = list(self._waiting)
        for suspect in suspects:
            self.take_out(suspect)
        return suspects

    def alike(self, digest: bytes) -> list[Suspect]:
        """Those that wait and have this digest."""
        return [suspect for suspect in self._waiting if suspect.digest == digest]

    @contextmanager
    def trying(self, suspect: Suspect) -> Iterator[None]:
        """While in it, one that was taken is being asked, and none like it is asked elsewhere."""
        self._trying.append(suspect)
        try:
            yield
        finally:
            self._trying.remove(suspect)

    def _open(self) -> list[Suspect]:
        """Those who may be asked now: not what is being asked at this moment by someone else."""
        tried = {suspect.digest for suspect in self._trying}
        return [suspect for suspect in self._waiting if suspect.digest not in tried]

    def _too_late(self, suspect: Suspect) -> None:
        self.take_out(suspect)
        refuse(suspect.call, QueueFull("no worker was free in time"))
        self._on_late()
