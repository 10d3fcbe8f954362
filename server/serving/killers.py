"""The requests that ended a worker, or used up its time, with nothing else in it."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping

import structlog

from server.errors import KnownRequest, TimedOutBefore, WorkerDiedBefore

RETRIAL_SECONDS = 60.0
MOST_KILLERS = 1024
_LOG_SECONDS = 60.0

_MESSAGES: Mapping[type[KnownRequest], str] = {
    WorkerDiedBefore: "this request has ended the model's process before",
    TimedOutBefore: "this request has used its whole time before",
}

log = structlog.get_logger("server.serving.killers")


class _Killer:
    """What is known of one request.

    Attributes:
        length: Bytes of its body.
        error: What it is refused with.
        tried: When a worker was last given it (seconds, monotonic).
        proved: Whether it is known to be at fault itself.
    """

    __slots__ = ("error", "length", "proved", "tried")

    def __init__(
        self, length: int, error: type[KnownRequest], tried: float, *, proved: bool
    ) -> None:
        self.length = length
        self.error = error
        self.tried = tried
        self.proved = proved


class Killers:
    """Remembers them by digest, in memory, for as long as their version serves.

    Args:
        version: The version, for the log.
        now: Seconds, monotonic.

    Attributes:
        lengths: How many of the remembered bodies have each length. Nothing else needs a digest,
            and while this is empty nothing is known.
    """

    def __init__(self, version: str, now: Callable[[], float] = time.monotonic) -> None:
        self.lengths: Counter[int] = Counter()
        self._version = version
        self._now = now
        self._killers: OrderedDict[bytes, _Killer] = OrderedDict()
        self._unsaid = 0
        self._next_line = 0.0

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._killers

    def remember(
        self, digest: bytes, length: int, error: type[KnownRequest], *, proved: bool = True
    ) -> None:
        """Know such a request from now on; the oldest of too many is forgotten.

        Args:
            length: Bytes of its body.
            error: What to refuse it with.
            proved: Whether it was at fault itself. Else it is not refused, but known as one that
                is better tried where it can do no harm.
        """
        self.forget(digest)
        if len(self._killers) == MOST_KILLERS:
            self.forget(next(iter(self._killers)))
        self._killers[digest] = _Killer(length, error, self._now(), proved=proved)
        self.lengths[length] += 1

    def forget(self, digest: bytes) -> None:
        """Take such a request like any other from now on."""
        killer = self._killers.pop(digest, None)
        if killer is not None:
            self.lengths[killer.length] -= 1
            if not self.lengths[killer.length]:
                del self.lengths[killer.length]

    def refusal(self, digest: bytes) -> KnownRequest | None:
        """What to refuse a request with; None if it is not remembered, or should be tried once
        more, which is so once a minute, and until it is proved to be at fault."""
        killer = self._killers.get(digest)
        if killer is None or not killer.proved:
            return None
        now = self._now()
        if now - killer.tried >= RETRIAL_SECONDS:
            killer.tried = now
            return None
        self._tell(digest, now)
        what = _MESSAGES[killer.error]
        return killer.error(f"{what}; it is tried again once a minute")

    def _tell(self, digest: bytes, now: float) -> None:
        self._unsaid += 1
        if now >= self._next_line:
            log.warning(
                "killers_refused",
                version=self._version,
                requests=self._unsaid,
                digest=digest.hex()[:12],
            )
            self._unsaid, self._next_line = 0, now + _LOG_SECONDS
