"""Writing the log, to a reader that may be slow, stopped or gone, without ever waiting for it."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

MOST_LINES = 16 * 1024
MOST_BYTES = 8 * 1024 * 1024

# While nothing can be written, it is tried again so often.
_RETRY_SECONDS = 1.0


class LineWriter:
    """Writes lines to a descriptor, in order, in a thread of its own, which alone waits.

    As many lines wait as fit into `MOST_LINES` and `MOST_BYTES`. The first that does not fit, and
    all that come until those before it are written, are dropped and counted: what is missing is
    missing at one place, and a line that says so stands there. So it is where writing fails, as on
    a full disk.

    Args:
        descriptor: Where to write to. It stays open.
        describe_gap: Makes the line that says how many are missing.

    Attributes:
        dropped: How many are missing, as far as that has not been told yet.
    """

    def __init__(self, descriptor: int, describe_gap: Callable[[int], bytes]) -> None:
        self._descriptor = descriptor
        self._describe_gap = describe_gap
        # The first one is being written.
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self.dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._within_line = False
        # A daemon: one that waits for its reader does not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have a line written, with the line break at its end, or count it as dropped. May be
        called by any thread; never waits."""
        with self._changed:
            if self.dropped or not self._has_room(len(line)):
                self.dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Write what waits, for at most so long; lines that come from here on may be lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _has_room(self, size: int) -> bool:
        # A line larger than all that may wait is written where none does.
        return not self._lines or (
            len(self._lines) < MOST_LINES and self._bytes + size <= MOST_BYTES
        )

    def _run(self) -> None:
        while self._wait():
            if self._lines:
                written = self._write(self._lines[0])
                with self._changed:
                    self._bytes -= len(self._lines.popleft())
                    self.dropped += not written
            elif not self._tell_of_gap() and not self._pause():
                return

    def _wait(self) -> bool:
        """Wait until there is something to write; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self.dropped or self._closing)
            return bool(self._lines or self.dropped)

    def _tell_of_gap(self) -> bool:
        told = self.dropped
        if not self._write(self._describe_gap(told)):
            return False
        with self._changed:
            self.dropped -= told
        return True

    def _pause(self) -> bool:
        """Wait until it is worth trying again; False at the end."""
        with self._changed:
            return not self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)

    def _write(self, line: bytes) -> bool:
        """Write a line, and tell whether that was possible."""
        # A disk may have filled in the middle of the one before.
        rest = memoryview(b"\n" + line if self._within_line else line)
        while rest:
            try:
                count = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Whoever shares it has made it so (O_NONBLOCK belongs to what is open, fcntl(2)).
                self._wait_writable()
            except OSError:
                return False
            else:
                rest = rest[count:]
                self._within_line = bool(rest)
        return True

    def _wait_writable(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()
