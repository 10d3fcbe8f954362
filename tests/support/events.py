"""The events of the log that people alert on, and the fields that each must have."""

from collections.abc import Mapping
from typing import Any

FIELDS: dict[str, set[str]] = {
    "server_started": {"host", "port", "model_uri", "watching"},
    "version_moved": {"old_version", "new_version"},
    "model_swapped": {
        *("old_version", "new_version", "trigger", "version_changed", "load_seconds"),
        *("rehearsed", "answers_changed", "answers_failed", "workers_share", "sandbox"),
    },
    "reload_failed": {
        *("trigger", "serving_version", "failed_version", "phase", "error", "retry_in_seconds")
    },
    "version_missing": {"error", "serving_version"},
    "version_pending": {"error", "serving_version"},
    "registry_unreachable": {"error", "serving_version"},
    "registry_recovered": {"failed_polls"},
    "worker_exited": {"version", "pid"},
    "worker_replaced": {"version", "pid"},
    "version_given_up": {"version", "fallback_version"},
    "release_retired": {"version", "seconds"},
    "server_stopping": {"signal"},
    "server_stopped": set(),
}

EVERY_LINE = {"timestamp", "level", "event", "model_name"}

# A process ends in one way or the other.
_EITHER = {"worker_exited": {"exit_code", "signal"}}


def is_complete(line: Mapping[str, Any]) -> bool:
    """Whether a line of the log has the fields that every line has, and those of its event."""
    return line.keys() >= EVERY_LINE and has_its_fields(line)


def has_its_fields(event: Mapping[str, Any]) -> bool:
    """Whether an event has the fields that go with its name."""
    name = event["event"]
    either = _EITHER.get(name)
    return event.keys() >= FIELDS.get(name, set()) and (
        either is None or len(either & event.keys()) == 1
    )
