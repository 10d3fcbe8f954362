"""What child processes print, turned into lines of the log."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from server.worker.alias import NAME

# RFC 7464 marks a JSON text in a sequence by a record separator. A worker's own log records
# come that way, between whatever else the process writes.
RECORD_SEPARATOR = b"\x1e"

LONGEST_LINE = 16 * 1024
LINES_PER_SECOND = 500
_READ_AT_ONCE = 64 * 1024
# More than a pipe holds: whoever still writes was started by the child, and is about to end too.
_LAST_READS = 32

log = structlog.get_logger("server.processes.output")


class OutputPipe:
    """The reading end of a pipe that serves a child process as standard output and error.

    The event loop watches the descriptor, and this alone closes it: uvloop's own transport for a
    pipe closes it twice, and the second time it may be another thread's by then.

    Attributes:
        writable: The other end, a descriptor to be handed to a child process.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._rest = b""
        self._skipping = False
        self._window = 0.0
        self._lines = 0
        self._dropped = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        readable, writable = os.pipe()
        os.set_blocking(readable, False)
        self._readable: int | None = readable
        self.writable = writable
        self._handed_over = False

    def start(self) -> None:
        """Begin to read, in the running event loop."""
        assert self._readable is not None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._readable, self._read)

    def close_writable(self) -> None:
        """Close this process's copy of the writing end, so that the child's end is seen."""
        if not self._handed_over:
            self._handed_over = True
            os.close(self.writable)

    def close(self) -> None:
        """Stop reading, whoever still holds the other end."""
        self.close_writable()
        if self._readable is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._readable)
        os.close(self._readable)
        self._readable = None
        self.ended()

    def finish(self) -> None:
        """Log what the child has printed before it ended, and stop reading."""
        for _ in range(_LAST_READS):
            if self._readable is None or not self._read():
                break
        self.close()

    def bind(self, **fields: Any) -> None:
        """Add fields to every line from here on."""
        self._fields |= fields

    def _read(self) -> bool:
        """Log what is in the pipe, and tell whether there was anything."""
        assert self._readable is not None
        try:
            data = os.read(self._readable, _READ_AT_ONCE)
        except BlockingIOError:
            return False
        if data:
            self.feed(data)
        else:
            self.close()
        return bool(data)

    def feed(self, data: bytes) -> None:
        """Log what the child has printed next, as far as its lines are whole."""
        if self._lines > LINES_PER_SECOND and time.monotonic() - self._window < 1.0:
            # A model that prints a gigabyte must not cost the gateway more than reading it.
            self._dropped += data.count(b"\n")
            self._rest, self._skipping = b"", not data.endswith(b"\n")
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._log(line)
        if len(self._rest) > LONGEST_LINE:
            if not self._skipping:
                self._log(self._rest[:LONGEST_LINE] + " … (cut)".encode())
            self._skipping = True
            self._rest = b""

    def ended(self) -> None:
        """Log what is left: the child prints nothing more."""
        if self._rest and not self._skipping:
            self._log(self._rest)
        self._rest = b""
        self._report_dropped()

    def _log(self, line: bytes) -> None:
        if not line.strip() or not self._within_rate():
            return
        record = _parse(line[1:]) if line.startswith(RECORD_SEPARATOR) else None
        if record is None:
            text = line[:LONGEST_LINE].decode(errors="backslashreplace").rstrip("\r")
            log.info("worker_output", message=text, **self._fields)
            return
        event, level, fields = record
        write: Callable[..., Any] = getattr(log, level)
        # The gateway's own word on whose output this is comes last.
        write(event, **{**fields, **self._fields})

    def _within_rate(self) -> bool:
        now = time.monotonic()
        if now - self._window >= 1.0:
            self._report_dropped()
            self._window, self._lines = now, 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._dropped += 1
            return False
        return True

    def _report_dropped(self) -> None:
        if self._dropped:
            log.warning("worker_output_dropped", lines=self._dropped, **self._fields)
        self._dropped = 0


_WORKER_EVENTS = frozenset({"prediction_failed", "merging_turned_off", "rehearsal_difference"})
_WORKER_FIELDS = frozenset({"error", "request", "old_answer", "new_answer"})
_LEVELS = {"debug": "debug", "info": "info", "warning": "warning"}


def _parse(line: bytes) -> tuple[str, str, dict[str, Any]] | None:
    """Read a worker's log record. What a model logs never gets one of the gateway's own event
    names: people alert on those."""
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    event, logger = record.get("event"), record.get("logger")
    level = _LEVELS.get(str(record.get("level")), "error")
    fields: dict[str, Any] = {
        k: str(record[k]) for k in ("logger", "request_id", "exception") if k in record
    }
    if logger == NAME and isinstance(event, str) and event in _WORKER_EVENTS:
        fields["logger"] = "server.worker"
        extra = record.get("fields")
        if isinstance(extra, dict):
            fields |= {k: v for k, v in extra.items() if k in _WORKER_FIELDS}
        return event, level, fields
    return "worker_output", level, {"message": str(event), **fields}
