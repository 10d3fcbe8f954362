"""What processes occupy in memory."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_SAMPLING_SECONDS = 0.05


def pss_bytes(pids: Iterable[int]) -> int:
    """The proportional set size of all these processes: a page that n processes share counts for
    1/n in each, so that the sum is what they occupy together. Processes that have ended count 0."""
    return sum(_pss_bytes(pid) for pid in pids)


def anonymous_bytes(pids: Iterable[int]) -> int:
    """What of `pss_bytes` is no file's: it does not depend on who else has the same files open."""
    return sum(_pss_bytes(pid, "Pss_Anon") for pid in pids)


def _pss_bytes(pid: int, kind: str = "Pss") -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        raise SystemExit("only root may measure the memory of the server's processes") from None
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        if name == kind:
            return 1024 * int(value.split()[0])
    return 0


class PeakMemory:
    """Samples the proportional set size while its context is open.

    Args:
        pids: Called for each sample, as processes come and go.

    Attributes:
        peak_bytes: The largest sum so far.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self.peak_bytes = 0
        self._pids = pids
        self._running = True
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._running = False
        self._thread.join()

    def _sample(self) -> None:
        while self._running:
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._pids()))
            time.sleep(_SAMPLING_SECONDS)
