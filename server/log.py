"""The log: one JSON object a line on standard output, from whoever it comes."""

import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from server.redaction import redact
from server.settings import Settings


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's events and the records of every other logger to `stream`.

    Args:
        settings: Level and format.
        stream: Standard output when None.
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
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(_formatter(settings))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    # What it warns of (a poll still under way when the next is due) is how the watcher works.
    logging.getLogger("apscheduler").setLevel(max(root.level, logging.ERROR))
    logging.captureWarnings(True)
    # A line that can't be written is lost: standard error is for settings that can't be used.
    logging.raiseExceptions = False


def _formatter(settings: Settings) -> logging.Formatter:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    foreign: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    own: list[Processor] = [
        stamp,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
    ]
    if settings.log_as_json:
        own += [
            _add_model(settings.name),
            structlog.processors.format_exc_info,
            _event_first,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        console = structlog.dev.ConsoleRenderer()
        own.append(lambda logger, method, event: redact(str(console(logger, method, event))))
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=foreign, processors=own)


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
    return redact(orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode())
