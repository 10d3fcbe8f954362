"""How much of a prediction's time its thread was blocked: whether the model waits for something
else, or computes."""

import contextlib
import operator
import os
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple, Self

from .computing import pressure, schedstat, spent
from .descendants import descendants

# A model that is blocked for that share of a prediction, and for so long, waits.
_SHARE = 0.5
_SECONDS = 0.005
# What wants a core may get a tenth of one.
_LONGEST_WAIT = 9
# A majority of these decides, if not two that agree.
_ENOUGH = 3


class _Own(NamedTuple):
    """What the calling thread has done so far, in nanoseconds."""

    now: int
    computed: int
    waited: int


class _Others(NamedTuple):
    """What all but the calling thread have done so far, in nanoseconds.

    Attributes:
        living: What each thread of the process, and each process below it, has computed, and
            waited for a core.
        ended: What those have computed that are no more.
        pressure: For how long anything has waited for a core; None where that is not told.
    """

    living: dict[object, tuple[int, int]]
    ended: int
    pressure: int | None


class Measurement:
    """How long a thread was blocked in the `with` blocks of this; each adds to it.

    Blocked is what it did not compute, nor wait for a core to compute on, while neither other
    threads of the process nor processes below it did so. It costs some tens of microseconds.

    Attributes:
        seconds: That, and what was computed; without what was waited for cores: how busy the
            machine is says nothing of the model.
        blocked: For how many of them it was blocked; of no meaning where `measurable()` is false.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.blocked = 0.0
        self._others: _Others | None = None
        self._own = _Own(0, 0, 0)

    def __enter__(self) -> Self:
        if measurable():
            self._others = _look_at_others()
            self._own = _look_at_own()
        return self

    def __exit__(self, *_: object) -> None:
        if (before := self._others) is None:
            return
        own = _look_at_own()
        after = _look_at_others()
        took, computed, waited = map(operator.sub, own, self._own)
        ended = max(after.ended - before.ended, 0)
        # How long those that have ended waited for a core is told nowhere.
        if after.pressure is None or before.pressure is None:
            waited += ended * waited / max(computed, 1)
        else:
            waited += min(after.pressure - before.pressure, _LONGEST_WAIT * ended)
        computed += ended
        longest = 0
        for one, (more_computed, more_waited) in after.living.items():
            then_computed, then_waited = before.living.get(one, (0, 0))
            computed += max(more_computed - then_computed, 0)
            # They do so at the same time, on a busy machine all of them.
            longest = max(longest, more_waited - then_waited)
        blocked = max(took - computed - waited - longest, 0)
        self.seconds += (blocked + computed) / 1e9
        self.blocked += blocked / 1e9


def measurable() -> bool:
    """Whether this kernel tells how long a thread waits for a core."""
    try:
        schedstat("/proc/thread-self")
    except OSError:
        return False
    return True


def _look_at_own() -> _Own:
    _, waited = schedstat("/proc/thread-self")
    return _Own(time.monotonic_ns(), time.thread_time_ns(), waited)


def _look_at_others() -> _Others:
    own = str(threading.get_native_id())
    living: dict[object, tuple[int, int]] = {}
    ended = time.process_time_ns() - time.thread_time_ns()
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
        if thread != own:
            with contextlib.suppress(OSError):
                living[thread] = schedstat(f"/proc/self/task/{thread}")
                ended -= living[thread][0]
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended += int((reaped.ru_utime + reaped.ru_stime) * 1e9)
    if _has_children():
        for process in descendants():
            with contextlib.suppress(OSError):
                living[process] = spent(process)
    return _Others(living, ended, pressure())


def _has_children() -> bool:
    # Looking for them would take far longer.
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class Judge:
    """Tells from several predictions whether a model waits: whether it is blocked for half of the
    time or more, and for 5 ms or more.

    One prediction alone does not tell: the first may read what later ones find in memory, and a
    model may remember an answer. For any threads; each prediction must be the only one meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure the prediction inside, unless it raises."""
        measurement = Measurement()
        with measurement:
            yield
        self.note(measurement)

    def note(self, measurement: Measurement) -> None:
        """Take a whole prediction into account; of a stream, what its steps took."""
        share = measurement.blocked / measurement.seconds if measurement.seconds else 0.0
        with self._lock:
            self._measured.append((share, measurement.blocked))

    @property
    def verdict(self) -> bool | None:
        """Whether it waits; None where too little has been seen to tell. False where nothing can be
        measured."""
        if not measurable():
            return False
        with self._lock:
            measured = [*self._measured]
        waits = {_waits(*each) for each in measured}
        if len(measured) < _ENOUGH and (len(measured) < 2 or len(waits) > 1):
            return None
        return _waits(*map(statistics.median_low, zip(*measured, strict=True)))

    @property
    def may_wait(self) -> bool:
        """Whether any prediction so far was blocked for as long as those of a model that waits."""
        with self._lock:
            return any(blocked >= _SECONDS for _, blocked in self._measured)

    @property
    def seen(self) -> int:
        """How many predictions it has seen."""
        with self._lock:
            return len(self._measured)


def _waits(share: float, blocked: float) -> bool:
    return share >= _SHARE and blocked >= _SECONDS
