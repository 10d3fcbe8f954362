"""The log: one JSON object a line on standard output, from whoever it comes."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from server.log_limits import LineLimit
from server.log_writer import LineWriter
from server.redaction import redact, redact_value
from server.settings import Settings

# What the last lines get to be written when the server ends.
_LAST_SECONDS = 2.0


@contextmanager
def logging_to_standard_output(settings: Settings) -> Iterator[None]:
    """Send structlog's events and the records of every other logger to standard output, until the
    block ends. Nobody who logs waits for that.

    Args:
        settings: Level and format.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    rendering = _rendering(settings)
    # What the log says of itself is written whatever the level.
    log = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[structlog.stdlib.add_log_level, *rendering]
    )
    writer = LineWriter(
        sys.stdout.fileno(), lambda lines: _line(log.warning("log_lines_dropped", lines=lines))
    )
    limit = LineLimit(
        lambda name, lines: writer.put(
            _line(log.warning("log_lines_limited", limited=name, lines=lines))
        )
    )
    handler = _Handler(writer)
    handler.setFormatter(_formatter(rendering))
    handler.addFilter(limit)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # What it warns of (a poll still under way when the next is due) is how the watcher works.
    logging.getLogger("apscheduler").setLevel(max(root.level, logging.ERROR))
    logging.captureWarnings(True)
    # A line that can't be written is lost: standard error is for settings that can't be used.
    logging.raiseExceptions = False
    try:
        yield
    finally:
        limit.close()
        writer.close(_LAST_SECONDS)


class _Handler(logging.Handler):
    """Renders records where they are made, as what is known of a request is known there only."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _line(self.format(record))
        except Exception:
            self.handleError(record)
        else:
            self._writer.put(line)


def _line(text: str) -> bytes:
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _formatter(rendering: list[Processor]) -> logging.Formatter:
    foreign: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    own = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=own)


def _rendering(settings: Settings) -> list[Processor]:
    """From an event to its line."""
    first: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        lambda _logger, _method, event: {k: redact_value(v) for k, v in event.items()},
    ]
    if settings.log_as_json:
        return [
            *first,
            _add_model(settings.name),
            _event_first,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    # Not the default, which shows what local variables hold.
    plain = structlog.dev.plain_traceback
    console = structlog.dev.ConsoleRenderer(exception_formatter=plain)
    return [*first, lambda logger, method, event: redact(str(console(logger, method, event)))]


def _add_model(name: str) -> Processor:
    """Two servers often share one log collector: each line says whose it is."""

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["model_name"] = name
        return event

    return add


def _event_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    head = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    return {**head, **event}


def _to_json(event: EventDict, **_options: Any) -> str:
    try:
        return orjson.dumps(event, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        # It writes no lone surrogates, and no integers of more than 64 bits.
        return json.dumps(event, default=_text)


def _text(value: object) -> str:
    return redact(str(value))
