"""The worker's log records, on their way to the gateway's log."""

import contextvars
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .alias import NAME

_RECORD_SEPARATOR = "\x1e"

# The gateway cuts longer lines, and would not know them for a record.
_LONGEST_LINE = 15 * 1024

_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)

# The one logger whose events keep their own names in the gateway; a model may have loggers named
# `server`, and turn them off.
log = logging.getLogger(NAME)


class RecordHandler(logging.Handler):
    """Writes each record as one line of a JSON text sequence (RFC 7464) to standard output, where
    the gateway tells it from what the model prints."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Any] = {
                "event": record.getMessage(),
                "level": record.levelname.lower(),
                "logger": record.name,
            }
            if request_id := _request_id.get():
                fields["request_id"] = request_id
            if record.exc_info:
                fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
            if extra := getattr(record, "fields", None):
                fields["fields"] = extra
            line = _within(fields, _LONGEST_LINE)
            # One write, so that nothing the model prints gets in between.
            sys.stdout.write(f"{_RECORD_SEPARATOR}{line}\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


def _within(fields: dict[str, Any], longest: int) -> str:
    """The record as JSON, its longest texts cut: a message at its end, a traceback at its start."""
    allowed = longest
    while len(line := json.dumps(fields, default=str)) > longest and allowed > 1:
        allowed //= 2
        fields = {**fields, "event": str(fields["event"])[:allowed]}
        if "exception" in fields:
            fields["exception"] = str(fields["exception"])[-allowed:]
        if "fields" in fields and allowed < longest // 4:
            fields["fields"] = {}
    return line


def configure_logging(level: str) -> None:
    """Send every logger's records of `level` and above to the gateway."""
    root = logging.getLogger()
    root.handlers = [RecordHandler()]
    root.setLevel(level.upper())
    for logger in logging.Logger.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            # MLflow and others bring handlers of their own that write plain text.
            logger.handlers.clear()
            logger.propagate = True
            logger.disabled = False
    logging.captureWarnings(True)


@contextmanager
def request_id(value: str) -> Iterator[None]:
    """Name the request that what is logged inside belongs to."""
    token = _request_id.set(value)
    try:
        yield
    finally:
        _request_id.reset(token)
